//! Why a shop cannot start, or a database cannot be read.

use std::path::PathBuf;

/// What keeps the shop from starting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// SQLite refused.
    #[error("database '{}': {step}: {source}", path.display())]
    Database {
        /// Which file.
        path: PathBuf,
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        source: rusqlite::Error,
    },
    /// The file itself could not be made or opened.
    #[error("database '{}': cannot open the file: {source} (its directory must exist and be writable)", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A later version of the shop made this database.
    #[error("database '{}' has schema version {found}, this program knows versions up to {known}: use a newer shop-server or another file", path.display())]
    NewerSchema {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The latest version this program knows.
        known: i64,
    },
    /// It is a database, but no shop's.
    #[error("database '{}' holds something else than a shop: give another --database", path.display())]
    ForeignDatabase {
        /// Which file.
        path: PathBuf,
    },
    /// The administrator's name belongs to a virtual user.
    #[error("user '{username}' exists and is no administrator: give another --admin-username")]
    NotAnAdmin {
        /// The name.
        username: String,
    },
    /// The administrator's name is no user name.
    #[error("administrator's name '{username}': expected 1 to 64 of A-Z a-z 0-9 _ . -")]
    AdminUsername {
        /// The name.
        username: String,
    },
    /// The administrator's password is too short or too long.
    #[error("administrator's password has {bytes} bytes, expected 8 to 1024")]
    AdminPassword {
        /// Its length, bytes.
        bytes: usize,
    },
    /// Argon2 has no such cost.
    #[error("password hashing with {memory_kib} KiB, {iterations} iterations, {parallelism} lanes: {source}")]
    HashCost {
        /// Memory, KiB.
        memory_kib: u32,
        /// Passes over the memory.
        iterations: u32,
        /// Lanes.
        parallelism: u32,
        /// Why it was refused.
        source: argon2::Error,
    },
    /// The trace cannot be started.
    #[error("trace '{}': {source} (it must be a new file, in a directory that is writable)", path.display())]
    Trace {
        /// Which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The operating system refused random bytes, a thread or memory.
    #[error("{step}: {reason}")]
    System {
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        reason: String,
    },
}
