//! Menu items for accounts: register, log in, change the password, log out.

use inquire::InquireError;
use protocol::response::{Done, LoggedIn, Registered};
use protocol::{Request, limits};

use crate::menu::session::{Session, User};
use crate::menu::{prompt, show};

pub(super) fn register(session: &mut Session) -> Result<(), InquireError> {
    let Some(username) = prompt::text("User name:", limits::USERNAME_CHARS)? else { return Ok(()) };
    let Some(password) = prompt::new_password("Password:")? else { return Ok(()) };
    if session
        .exchange::<Registered>(&Request::Register { username: username.clone(), password: password.clone() })
        .is_ok()
    {
        show::line(&format!("Welcome, {username}."));
        log_in_as(session, username, password);
    }
    Ok(())
}

pub(super) fn log_in(session: &mut Session) -> Result<(), InquireError> {
    let Some(username) = prompt::text("User name:", limits::USERNAME_CHARS)? else { return Ok(()) };
    let Some(password) = prompt::password("Password:")? else { return Ok(()) };
    log_in_as(session, username, password);
    Ok(())
}

fn log_in_as(session: &mut Session, username: String, password: String) {
    let request = Request::Login { username: username.clone(), password };
    if let Ok(LoggedIn { token, admin, .. }) = session.exchange(&request) {
        session.set_user(Some(User { name: username, token, admin }));
    }
}

pub(super) fn change_password(session: &mut Session) -> Result<(), InquireError> {
    let Some(token) = session.token() else { return Ok(()) };
    let Some(current_password) = prompt::password("Current password:")? else { return Ok(()) };
    let Some(new_password) = prompt::new_password("New password:")? else { return Ok(()) };
    if session.exchange::<Done>(&Request::ChangePassword { token, current_password, new_password }).is_ok() {
        show::line("The password is changed.");
    }
    Ok(())
}

pub(super) fn log_out(session: &mut Session) -> Result<(), InquireError> {
    let Some(token) = session.token() else { return Ok(()) };
    // Even if the response is lost, the session has no user afterwards.
    let _ = session.exchange::<Done>(&Request::Logout { token });
    session.set_user(None);
    Ok(())
}
