//! Reasons why a shop cannot start or a database cannot be read.

use std::path::{Path, PathBuf};

use protocol::limits;
use rusqlite::ErrorCode;

/// Error at the start of the shop or when a database is read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// SQLite failed.
    #[error("database '{}': {step}: {cause}", path.display())]
    Database {
        /// Path of the file.
        path: PathBuf,
        /// Failed step.
        step: &'static str,
        /// Cause. Not a `source`: its text is part of the message.
        cause: rusqlite::Error,
    },
    /// The path does not lead to a usable file.
    #[error("database '{}': {problem}", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The database has lost tables or pages.
    #[error("database '{}' is damaged: {damage}; restore it from a backup", path.display())]
    Damaged {
        /// Path of the file.
        path: PathBuf,
        /// First damage that was found.
        damage: String,
    },
    /// A later version of the program created the database.
    #[error("database '{}' has schema version {found}, expected at most {known}: use a newer shop-server or another --database", path.display())]
    NewerSchema {
        /// Path of the file.
        path: PathBuf,
        /// Schema version of the file.
        found: i64,
        /// Latest schema version that this program supports.
        known: i64,
    },
    /// The file is a database of another program.
    #[error("database '{}' is not a shop's: choose another --database", path.display())]
    ForeignDatabase {
        /// Path of the file.
        path: PathBuf,
    },
    /// The administrator's name belongs to another user.
    #[error("user '{username}' exists and is not an administrator: choose another --admin-username")]
    NotAnAdmin {
        /// Configured name.
        username: String,
    },
    /// The administrator's name is not a valid user name.
    #[error("invalid administrator's name '{username}': expected {} to {} characters from A-Z a-z 0-9 _ . -", limits::USERNAME_CHARS.start(), limits::USERNAME_CHARS.end())]
    AdminUsername {
        /// Configured name.
        username: String,
    },
    /// The administrator's password is too short or too long.
    #[error("invalid administrator's password: expected {} to {} bytes, got {bytes}", limits::PASSWORD_BYTES.start(), limits::PASSWORD_BYTES.end())]
    AdminPassword {
        /// Length, bytes.
        bytes: usize,
    },
    /// Argon2 does not support the cost.
    #[error(
        "invalid cost of password hashing ({memory_kib} KiB, {iterations} iterations, {parallelism} lanes): {cause}"
    )]
    HashCost {
        /// Memory, KiB.
        memory_kib: u32,
        /// Passes over the memory.
        iterations: u32,
        /// Lanes.
        parallelism: u32,
        /// Cause.
        cause: argon2::Error,
    },
    /// The trace cannot be started.
    #[error("trace '{}': {cause} (expected a new file in a writable directory)", path.display())]
    Trace {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        cause: std::io::Error,
    },
    /// The certificate cannot be used with the version of TLS.
    #[error("TLS: {0}; the certificate's key must be one that the version of TLS supports")]
    Tls(#[from] rustls::Error),
    /// Another step of the start failed.
    #[error("{step}: {reason}")]
    System {
        /// Failed step.
        step: &'static str,
        /// Cause.
        reason: String,
    },
}

impl ServerError {
    /// Returns the error of a failed step: [`Self::Damaged`] if the cause is the file's contents.
    pub(crate) fn database(path: &Path, step: &'static str, cause: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match cause.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged { path, damage: cause.to_string() }
            }
            _ => Self::Database { path, step, cause },
        }
    }
}
