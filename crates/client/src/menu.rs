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

/// What a menu session needs.
pub struct MenuSettings {
    /// Where the shop is.
    pub endpoints: Endpoints,
    /// When connections are made.
    pub connection: ConnectionMode,
    /// How long to wait for the shop.
    pub timeouts: Timeouts,
    /// Whether the CSV has its header, and rows of earlier sessions, already.
    pub csv_has_header: bool,
}

/// Why a session ended otherwise than by its user.
#[derive(Debug, thiserror::Error)]
pub enum MenuError {
    /// The CSV could not be written.
    #[error("cannot write the CSV: {0}")]
    Csv(io::Error),
    /// The terminal failed.
    #[error("cannot use the terminal: {0}")]
    Terminal(InquireError),
    /// The system gave no threads, sockets or randomness.
    #[error("cannot start: {0}")]
    Start(io::Error),
}

/// Runs the menu until the user quits or presses Ctrl-C; rows go to `csv`. Returns their number.
///
/// # Errors
/// When the terminal or the CSV fails. What the shop or the network does is shown to the user.
pub fn run(settings: &MenuSettings, csv: Box<dyn Write + Send>) -> Result<u64, MenuError> {
    let mut session = Session::start(settings, csv)?;
    let shopped = shop(&mut session);
    let rows = session.finish().map_err(MenuError::Csv)?;
    match shopped {
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
            Some(choice) => carry_out(choice, session)?,
            None => {}
        }
    }
    Ok(())
}

fn carry_out(choice: Choice, session: &mut Session) -> Result<(), InquireError> {
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
