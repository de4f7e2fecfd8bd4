//! register, login, logout, change_password.

use shop_protocol::response::{Done, LoggedIn, Registered};

use crate::clock::now_ms;
use crate::errand::Errand;
use crate::failure::Answer;
use crate::store::users::{self, Role};
use crate::token::{self, TokenHash};

/// Makes an account.
pub(crate) async fn register(errand: &mut Errand<'_>, username: String, password: String) -> Answer<Registered> {
    let name = username.clone();
    // Before the expensive hash; the insertion below finds out again, for good.
    if errand.read(move |connection| users::find(connection, &name)).await?.is_some() {
        return Err(users::username_taken(&username));
    }
    let hash = errand.hash(password).await?;
    let work = move |connection: &_| users::insert(connection, &username, &hash, Role::Shopper, now_ms());
    Ok(Registered { user_id: errand.write(work).await? })
}

/// Gives a token.
pub(crate) async fn login(errand: &mut Errand<'_>, username: String, password: String) -> Answer<LoggedIn> {
    let user = errand.read(move |connection| users::find(connection, &username)).await?;
    let stored = user.as_ref().map(|user| user.password_hash.clone());
    let verified = errand.verify(password, stored).await?;
    let Some(user) = user.filter(|_| verified) else { return Err(users::wrong_credentials()) };
    let (token, admin) = (token::generate()?, user.admin);
    let (hash, lifetime) = (TokenHash::of(&token), errand.token_lifetime());
    let work = move |connection: &_| {
        let now = now_ms();
        let lifetime_ms = i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX);
        users::insert_token(connection, &user, hash, now, now.saturating_add(lifetime_ms))
    };
    errand.write(work).await?;
    Ok(LoggedIn { token, expires_in_seconds: lifetime.as_secs(), admin })
}

/// Ends a token.
pub(crate) async fn logout(errand: &mut Errand<'_>, token: TokenHash) -> Answer<Done> {
    let work = move |connection: &_| {
        users::session(connection, token, now_ms())?;
        users::delete_token(connection, token)
    };
    errand.write(work).await?;
    Ok(Done {})
}

/// Changes the password and ends the user's other tokens.
pub(crate) async fn change_password(
    errand: &mut Errand<'_>,
    token: TokenHash,
    current: String,
    new: String,
) -> Answer<Done> {
    let look_up = move |connection: &_| {
        let session = users::session(connection, token, now_ms())?;
        Ok((session.user_id, users::password_hash(connection, session.user_id)?))
    };
    let (user_id, old_hash) = errand.read(look_up).await?;
    if !errand.verify(current, Some(old_hash.clone())).await? {
        return Err(users::wrong_credentials());
    }
    let new_hash = errand.hash(new).await?;
    let work = move |connection: &_| {
        // Again, because hashing took its time: the token may have been ended meanwhile.
        users::session(connection, token, now_ms())?;
        users::change_password(connection, user_id, (&old_hash, &new_hash), token)
    };
    errand.write(work).await?;
    Ok(Done {})
}
