//! Users and their tokens. Times are arguments.

use protocol::ErrorCode;
use rusqlite::{Connection, OptionalExtension};

use crate::command_error::{CommandError, CommandResult};
use crate::token::TokenHash;

/// User as needed for a login.
#[derive(Debug, Clone)]
pub(crate) struct User {
    /// Id of the row.
    pub(crate) id: i64,
    /// Hash of the password, as a PHC string.
    pub(crate) password_hash: String,
    /// Whether the user may add products.
    pub(crate) admin: bool,
}

/// Owner of a valid token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Session {
    /// Id of the user.
    pub(crate) user_id: i64,
    /// Whether the user may add products.
    pub(crate) admin: bool,
}

/// Permissions of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// May order and rate products.
    Customer,
    /// May also add products.
    Admin,
}

/// Returns the user with this name, if it exists.
pub(crate) fn find(connection: &Connection, username: &str) -> CommandResult<Option<User>> {
    let sql = "SELECT id, password_hash, admin FROM users WHERE username = ?1";
    let read = |row: &rusqlite::Row<'_>| Ok(User { id: row.get(0)?, password_hash: row.get(1)?, admin: row.get(2)? });
    Ok(connection.prepare_cached(sql)?.query_row([username], read).optional()?)
}

/// Replaces the hash of a password by one with another cost, unless the password was changed in the meantime.
pub(crate) fn replace_hash(connection: &Connection, user_id: i64, old: &str, new: &str) -> CommandResult<()> {
    let sql = "UPDATE users SET password_hash = ?3 WHERE id = ?1 AND password_hash = ?2";
    connection.prepare_cached(sql)?.execute((user_id, old, new))?;
    Ok(())
}

/// Returns the hash of the user's password.
pub(crate) fn password_hash(connection: &Connection, user_id: i64) -> CommandResult<String> {
    let sql = "SELECT password_hash FROM users WHERE id = ?1";
    Ok(connection.prepare_cached(sql)?.query_row([user_id], |row| row.get(0))?)
}

/// Creates an account and returns its id.
pub(crate) fn insert(
    connection: &Connection,
    username: &str,
    hash: &str,
    role: Role,
    now_ms: i64,
) -> CommandResult<i64> {
    let sql = "INSERT INTO users (username, password_hash, admin, created_at_ms) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT (username) DO NOTHING RETURNING id";
    let values = (username, hash, role == Role::Admin, now_ms);
    let id = connection.prepare_cached(sql)?.query_row(values, |row| row.get(0)).optional()?;
    id.ok_or_else(|| username_taken(username))
}

/// Returns the error for a second account with this name.
pub(crate) fn username_taken(username: &str) -> CommandError {
    let message = format!("field 'username': user name '{username}' is taken; choose another");
    CommandError::in_field(ErrorCode::UsernameTaken, "username", message)
}

/// Returns the error for a wrong password and for an unknown user alike.
pub(crate) fn wrong_credentials() -> CommandError {
    CommandError::refused(ErrorCode::WrongCredentials, "user name and password do not match")
}

/// Stores a new token of `user`, valid until `expires_at_ms`, and deletes expired tokens.
///
/// Fails if the password has changed since it was verified: the change must invalidate this login as well.
pub(crate) fn insert_token(
    connection: &Connection,
    user: &User,
    token: TokenHash,
    now_ms: i64,
    expires_at_ms: i64,
) -> CommandResult<()> {
    if password_hash(connection, user.id)? != user.password_hash {
        return Err(wrong_credentials());
    }
    connection.prepare_cached("DELETE FROM tokens WHERE expires_at_ms <= ?1")?.execute([now_ms])?;
    let sql = "INSERT INTO tokens (hash, user_id, expires_at_ms) VALUES (?1, ?2, ?3)";
    connection.prepare_cached(sql)?.execute((token, user.id, expires_at_ms))?;
    Ok(())
}

/// Returns the owner of `token`, and its expiry.
pub(crate) fn session(connection: &Connection, token: TokenHash, now_ms: i64) -> CommandResult<(Session, i64)> {
    let sql = "SELECT user_id, admin, expires_at_ms FROM tokens JOIN users ON users.id = user_id
               WHERE hash = ?1 AND expires_at_ms > ?2";
    let read = |row: &rusqlite::Row<'_>| Ok((Session { user_id: row.get(0)?, admin: row.get(1)? }, row.get(2)?));
    let session = connection.prepare_cached(sql)?.query_row((token, now_ms), read).optional()?;
    session.ok_or_else(|| {
        let message = "field 'token': unknown, expired or invalidated token; log in again";
        CommandError::in_field(ErrorCode::InvalidToken, "token", message)
    })
}

/// Invalidates a token.
pub(crate) fn delete_token(connection: &Connection, token: TokenHash) -> CommandResult<()> {
    connection.prepare_cached("DELETE FROM tokens WHERE hash = ?1")?.execute([token])?;
    Ok(())
}

/// Replaces the hash `old` by `new` and invalidates all tokens of the user except `keep`.
pub(crate) fn change_password(
    connection: &Connection,
    user_id: i64,
    (old, new): (&str, &str),
    keep: TokenHash,
) -> CommandResult<()> {
    let sql = "UPDATE users SET password_hash = ?3 WHERE id = ?1 AND password_hash = ?2";
    if connection.prepare_cached(sql)?.execute((user_id, old, new))? == 0 {
        return Err(wrong_credentials());
    }
    connection.prepare_cached("DELETE FROM tokens WHERE user_id = ?1 AND hash <> ?2")?.execute((user_id, keep))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Durability;
    use crate::grace_period::GracePeriod;
    use crate::store::schema::open_for_writing;

    /// Returns a database with the user "ann", whose password hash is "old".
    fn with_ann() -> (tempfile::TempDir, Connection, User) {
        let directory = tempfile::tempdir().unwrap();
        let connection =
            open_for_writing(&directory.path().join("shop.db"), Durability::Normal, &GracePeriod::default()).unwrap();
        insert(&connection, "ann", "old", Role::Customer, 0).unwrap();
        let ann = find(&connection, "ann").unwrap().unwrap();
        (directory, connection, ann)
    }

    fn code<T>(result: CommandResult<T>) -> Option<ErrorCode> {
        match result {
            Err(CommandError::Refused(error)) => Some(error.code),
            _ => None,
        }
    }

    #[test]
    fn a_token_is_valid_until_the_millisecond_of_its_expiry_and_then_deleted() {
        let (_directory, connection, ann) = with_ann();
        let (first, second) = (TokenHash::of("first"), TokenHash::of("second"));
        insert_token(&connection, &ann, first, 0, 100).unwrap();
        let valid = session(&connection, first, 99).unwrap();
        assert_eq!(valid, (Session { user_id: ann.id, admin: false }, 100));
        assert_eq!(code(session(&connection, first, 100)), Some(ErrorCode::InvalidToken));
        insert_token(&connection, &ann, second, 100, 200).unwrap();
        let kept: i64 = connection.query_row("SELECT count(*) FROM tokens", [], |row| row.get(0)).unwrap();
        assert_eq!(kept, 1);
    }

    #[test]
    fn a_login_verified_before_a_change_of_the_password_fails_after_it() {
        let (_directory, connection, ann) = with_ann();
        change_password(&connection, ann.id, ("old", "new"), TokenHash::of("none")).unwrap();
        let late = insert_token(&connection, &ann, TokenHash::of("late"), 0, 100);
        assert_eq!(code(late), Some(ErrorCode::WrongCredentials));
    }

    #[test]
    fn of_two_concurrent_changes_the_second_fails() {
        let (_directory, connection, ann) = with_ann();
        change_password(&connection, ann.id, ("old", "one"), TokenHash::of("none")).unwrap();
        let second = change_password(&connection, ann.id, ("old", "two"), TokenHash::of("none"));
        assert_eq!(code(second), Some(ErrorCode::WrongCredentials));
        assert_eq!(password_hash(&connection, ann.id).unwrap(), "one");
    }
}
