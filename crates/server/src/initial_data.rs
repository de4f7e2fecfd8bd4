//! First contents of a database: the administrator's account and the catalogue.

use protocol::limits;
use rusqlite::Connection;

use crate::catalogue;
use crate::clock::now_ms;
use crate::command_error::CommandError;
use crate::config::{Admin, Catalogue, Config};
use crate::error::ServerError;
use crate::passwords;
use crate::secret::Secret;
use crate::store::users;
use crate::store::users::Role;
use crate::token;

/// Creates the administrator's account and the catalogue if they are absent. Returns the administrator's password if
/// it was generated.
pub(crate) fn create_missing(connection: &mut Connection, config: &Config) -> Result<Option<Secret>, ServerError> {
    let failed = |error| creation_failed(config, error);
    check_admin(&config.admin)?;
    let transaction = connection.transaction().map_err(|error| failed(error.into()))?;
    let generated_password = match users::find(&transaction, &config.admin.username).map_err(failed)? {
        Some(user) if !user.admin => {
            return Err(ServerError::NotAnAdmin { username: config.admin.username.clone() });
        }
        Some(_) => {
            tracing::debug!(username = config.admin.username, "the administrator's account exists and is not changed");
            None
        }
        None => create_admin(&transaction, config)?,
    };
    if let Catalogue::Demo { stock } = config.catalogue {
        catalogue::fill_if_empty(&transaction, stock).map_err(failed)?;
    }
    transaction.commit().map_err(|error| failed(error.into()))?;
    Ok(generated_password)
}

fn create_admin(connection: &Connection, config: &Config) -> Result<Option<Secret>, ServerError> {
    let failed = |error| creation_failed(config, error);
    let (password, generated) = match &config.admin.password {
        Some(password) => (password.clone(), None),
        None => {
            let random = token::random_hex::<16>()
                .map_err(|error| ServerError::System { step: "random bytes", reason: error.to_string() })?;
            (Secret::new(random.clone()), Some(Secret::new(random)))
        }
    };
    let hash = passwords::hash(&config.passwords.cost, password.reveal()).map_err(failed)?;
    users::insert(connection, &config.admin.username, &hash, Role::Admin, now_ms()).map_err(failed)?;
    Ok(generated)
}

/// Applies the bounds of `register` to the administrator's name and password.
fn check_admin(admin: &Admin) -> Result<(), ServerError> {
    let name = &admin.username;
    if !name.chars().all(limits::is_username_char) || !limits::USERNAME_CHARS.contains(&name.len()) {
        return Err(ServerError::AdminUsername { username: name.clone() });
    }
    match admin.password.as_ref().map(|password| password.reveal().len()) {
        Some(bytes) if !limits::PASSWORD_BYTES.contains(&bytes) => Err(ServerError::AdminPassword { bytes }),
        _ => Ok(()),
    }
}

fn creation_failed(config: &Config, error: CommandError) -> ServerError {
    let reason = match error {
        CommandError::Refused(error) => error.message,
        CommandError::Locked => {
            format!("another program has locked '{}': stop it and try again", config.database.display())
        }
        CommandError::ShuttingDown => "the server is stopping".to_owned(),
        CommandError::Unwritable(reason) => reason.to_owned(),
        CommandError::Broken(reason) => reason,
    };
    ServerError::System { step: "first contents of the database", reason }
}
