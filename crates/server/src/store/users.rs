//! Users and their tokens. Times come in as values.

use protocol::ErrorCode;
use rusqlite::{Connection, OptionalExtension};

use crate::command_error::{CommandError, CommandResult};
use crate::token::TokenHash;

/// What logging in needs to know of a user.
#[derive(Debug, Clone)]
pub(crate) struct User {
    /// The row's id.
    pub(crate) id: i64,
    /// The PHC string of the password's hash.
    pub(crate) password_hash: String,
    /// Whether the user may add products.
    pub(crate) admin: bool,
}

/// Who a valid token belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Session {
    /// The user's id.
    pub(crate) user_id: i64,
    /// Whether the user may add products.
    pub(crate) admin: bool,
}

/// What an account may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Buys.
    Customer,
    /// Adds products as well.
    Admin,
}

/// The user of that name, if there is one.
pub(crate) fn find(connection: &Connection, username: &str) -> CommandResult<Option<User>> {
    let sql = "SELECT id, password_hash, admin FROM users WHERE username = ?1";
    let read = |row: &rusqlite::Row<'_>| Ok(User { id: row.get(0)?, password_hash: row.get(1)?, admin: row.get(2)? });
    Ok(connection.prepare_cached(sql)?.query_row([username], read).optional()?)
}

/// The hash of the password of the user with that id.
pub(crate) fn password_hash(connection: &Connection, user_id: i64) -> CommandResult<String> {
    let sql = "SELECT password_hash FROM users WHERE id = ?1";
    Ok(connection.prepare_cached(sql)?.query_row([user_id], |row| row.get(0))?)
}

/// Makes an account and gives its id.
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

/// The refusal of a second account of that name.
pub(crate) fn username_taken(username: &str) -> CommandError {
    let message = format!("user name '{username}' is taken: choose another");
    CommandError::in_field(ErrorCode::UsernameTaken, "username", message)
}

/// The refusal of a wrong password and of an unknown user: they are not told apart.
pub(crate) fn wrong_credentials() -> CommandError {
    CommandError::refused(ErrorCode::WrongCredentials, "user name and password do not belong together")
}

/// Keeps a new token of `user` until `expires_at_ms`, and forgets all that have expired.
///
/// Refused when the password is not any more the one that was verified: a login must not outlive a change of the
/// password that happened meanwhile.
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

/// Who `token` belongs to.
pub(crate) fn session(connection: &Connection, token: TokenHash, now_ms: i64) -> CommandResult<Session> {
    let sql = "SELECT user_id, admin FROM tokens JOIN users ON users.id = user_id
               WHERE hash = ?1 AND expires_at_ms > ?2";
    let read = |row: &rusqlite::Row<'_>| Ok(Session { user_id: row.get(0)?, admin: row.get(1)? });
    let session = connection.prepare_cached(sql)?.query_row((token, now_ms), read).optional()?;
    session.ok_or_else(|| {
        let message = "field 'token': it is unknown, has expired or was logged out; log in again";
        CommandError::in_field(ErrorCode::InvalidToken, "token", message)
    })
}

/// Ends a token.
pub(crate) fn delete_token(connection: &Connection, token: TokenHash) -> CommandResult<()> {
    connection.prepare_cached("DELETE FROM tokens WHERE hash = ?1")?.execute([token])?;
    Ok(())
}

/// Replaces the hash `old` by `new` and ends all tokens of the user except `keep`.
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
    use crate::store::schema::open_for_writing;

    /// A database with the user "ann", whose password's hash is "old".
    fn with_ann() -> (tempfile::TempDir, Connection, User) {
        let folder = tempfile::tempdir().unwrap();
        let connection = open_for_writing(&folder.path().join("shop.db"), Durability::Normal).unwrap();
        insert(&connection, "ann", "old", Role::Customer, 0).unwrap();
        let ann = find(&connection, "ann").unwrap().unwrap();
        (folder, connection, ann)
    }

    fn code<T>(answer: CommandResult<T>) -> Option<ErrorCode> {
        match answer {
            Err(CommandError::Refused(error)) => Some(error.code),
            _ => None,
        }
    }

    #[test]
    fn a_token_is_valid_until_the_millisecond_it_expires_and_then_forgotten() {
        let (_folder, connection, ann) = with_ann();
        let (first, second) = (TokenHash::of("first"), TokenHash::of("second"));
        insert_token(&connection, &ann, first, 0, 100).unwrap();
        let valid = session(&connection, first, 99).unwrap();
        assert_eq!(valid, Session { user_id: ann.id, admin: false });
        assert_eq!(code(session(&connection, first, 100)), Some(ErrorCode::InvalidToken));
        insert_token(&connection, &ann, second, 100, 200).unwrap();
        let kept: i64 = connection.query_row("SELECT count(*) FROM tokens", [], |row| row.get(0)).unwrap();
        assert_eq!(kept, 1);
    }

    #[test]
    fn a_login_that_was_verified_before_a_change_of_the_password_fails_after_it() {
        let (_folder, connection, ann) = with_ann();
        change_password(&connection, ann.id, ("old", "new"), TokenHash::of("none")).unwrap();
        let late = insert_token(&connection, &ann, TokenHash::of("late"), 0, 100);
        assert_eq!(code(late), Some(ErrorCode::WrongCredentials));
    }

    #[test]
    fn of_two_changes_at_once_the_second_fails() {
        let (_folder, connection, ann) = with_ann();
        change_password(&connection, ann.id, ("old", "one"), TokenHash::of("none")).unwrap();
        let second = change_password(&connection, ann.id, ("old", "two"), TokenHash::of("none"));
        assert_eq!(code(second), Some(ErrorCode::WrongCredentials));
        assert_eq!(password_hash(&connection, ann.id).unwrap(), "one");
    }
}
