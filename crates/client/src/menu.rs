//! The interactive client: every operation of the shop, with latency and round-trip time after each.

mod browse;
mod buy;
mod choice;
mod prompt;
mod session;
mod show;
mod users;

use std::io::{self, Write};

use inquire::InquireError;

use model::settings::ConnectionMode;

use crate::transport::{Endpoints, Timeouts};
use choice::Choice;
use session::Session;

/// Settings of a menu session.
pub struct MenuSettings {
    /// Address and ports of the shop.
    pub endpoints: Endpoints,
    /// When connections are opened.
    pub connection: ConnectionMode,
    /// Maximum durations of a handshake and of a request.
    pub timeouts: Timeouts,
    /// Whether the CSV already contains its header, and rows of earlier sessions.
    pub csv_has_header: bool,
}

/// Reason for a session to end without the user's request.
#[derive(Debug, thiserror::Error)]
pub enum MenuError {
    /// The CSV could not be written.
    #[error("cannot write the CSV: {0}")]
    Csv(io::Error),
    /// The terminal failed.
    #[error("cannot use the terminal: {0}")]
    Terminal(InquireError),
    /// No thread, runtime or random number is available.
    #[error("cannot start: {0}")]
    Start(io::Error),
}

/// Runs the menu until the user quits or presses Ctrl-C, and writes rows to `csv`. Returns their number.
///
/// # Errors
/// The terminal or the CSV fails. Errors of the shop or the network are shown to the user instead.
pub fn run(settings: &MenuSettings, csv: Box<dyn Write + Send>) -> Result<u64, MenuError> {
    let mut session = Session::start(settings, csv)?;
    let result = shop(&mut session);
    let rows = session.finish().map_err(MenuError::Csv)?;
    match result {
        Ok(()) | Err(InquireError::OperationInterrupted) => Ok(rows),
        Err(error) => Err(MenuError::Terminal(error)),
    }
}

fn shop(session: &mut Session) -> Result<(), InquireError> {
    while session.is_recording() {
        let title = match session.user() {
            Some(user) => format!("{} · what next?", user.name),
            None => "Welcome to the shop · what next?".to_owned(),
        };
        match prompt::select(&title, Choice::available(session.user()))? {
            Some(Choice::Quit) => return Ok(()),
            Some(choice) => execute(choice, session)?,
            None => {}
        }
    }
    Ok(())
}

fn execute(choice: Choice, session: &mut Session) -> Result<(), InquireError> {
    match choice {
        Choice::Register => users::register(session),
        Choice::LogIn => users::log_in(session),
        Choice::Browse => browse::browse(session),
        Choice::Order => buy::order(session),
        Choice::Rate => buy::rate(session),
        Choice::History => buy::history(session),
        Choice::ChangePassword => users::change_password(session),
        Choice::AddProduct => browse::add_product(session),
        Choice::LogOut => users::log_out(session),
        Choice::Quit => Ok(()),
    }
}
