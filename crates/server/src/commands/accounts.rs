//! register, login, logout, change_password.

use protocol::response::{Done, LoggedIn, Registered};
use rusqlite::Connection;

use crate::clock::now_ms;
use crate::command_error::CommandResult;
use crate::request_context::RequestContext;
use crate::store::users;
use crate::store::users::Role;
use crate::store::write_state::WriteState;
use crate::token;
use crate::token::TokenHash;

/// Creates an account.
pub(super) async fn register(
    context: &mut RequestContext<'_>,
    username: String,
    password: String,
) -> CommandResult<Registered> {
    let name = username.clone();
    // Avoids the expensive hash. The insertion below checks again.
    if context.read(move |connection| users::find(connection, &name)).await?.is_some() {
        return Err(users::username_taken(&username));
    }
    let hash = context.hash(password).await?;
    let work =
        move |state: &mut WriteState| users::insert(state.connection(), &username, &hash, Role::Customer, now_ms());
    Ok(Registered { user_id: context.write(work).await? })
}

/// Returns a token.
pub(super) async fn login(
    context: &mut RequestContext<'_>,
    username: String,
    password: String,
) -> CommandResult<LoggedIn> {
    let name = username.clone();
    let user = context.read(move |connection| users::find(connection, &name)).await?;
    let stored = user.as_ref().map(|user| user.password_hash.clone());
    let verified = context.verify(&username, password.clone(), stored).await?;
    let Some(user) = user.filter(|_| verified) else { return Err(users::wrong_credentials()) };
    // A hash with another cost takes another time, which would tell that the account exists.
    let new_hash = match context.has_current_cost(&user.password_hash) {
        true => None,
        false => Some(context.hash(password).await?),
    };
    let (token, admin) = (token::generate()?, user.admin);
    let (hash, lifetime) = (TokenHash::of(&token), context.token_lifetime());
    let work = move |state: &mut WriteState| {
        let now = now_ms();
        let lifetime_ms = i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX);
        users::insert_token(state.connection(), &user, hash, now, now.saturating_add(lifetime_ms))?;
        match &new_hash {
            Some(new) => users::replace_hash(state.connection(), user.id, &user.password_hash, new),
            None => Ok(()),
        }
    };
    context.write(work).await?;
    Ok(LoggedIn { token, expires_in_seconds: lifetime.as_secs(), admin })
}

/// Invalidates a token.
pub(super) async fn logout(context: &mut RequestContext<'_>, token: TokenHash) -> CommandResult<Done> {
    let work = move |state: &mut WriteState| {
        state.session(token, now_ms())?;
        state.forget_sessions();
        users::delete_token(state.connection(), token)
    };
    context.write(work).await?;
    Ok(Done {})
}

/// Changes the password and invalidates the user's other tokens.
pub(super) async fn change_password(
    context: &mut RequestContext<'_>,
    token: TokenHash,
    current: String,
    new: String,
) -> CommandResult<Done> {
    let look_up = move |connection: &mut Connection| {
        let (session, _) = users::session(connection, token, now_ms())?;
        Ok((session.user_id, users::password_hash(connection, session.user_id)?))
    };
    let (user_id, old_hash) = context.read(look_up).await?;
    // No user name has spaces.
    let account = format!("user {user_id}");
    if !context.verify(&account, current, Some(old_hash.clone())).await? {
        return Err(users::wrong_credentials());
    }
    let new_hash = context.hash(new).await?;
    let work = move |state: &mut WriteState| {
        // Checked again: the token may have been invalidated during the hashing.
        state.session(token, now_ms())?;
        state.forget_sessions();
        users::change_password(state.connection(), user_id, (&old_hash, &new_hash), token)
    };
    context.write(work).await?;
    Ok(Done {})
}
