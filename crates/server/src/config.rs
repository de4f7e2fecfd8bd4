//! Everything the shop can be set to, with its defaults. How people spell it is in `cli/options.rs`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread::available_parallelism;

use crate::error::ServerError;
use model::HumanDuration;

use crate::secret::Secret;

/// The settings of a shop; its sockets are not among them.
#[derive(Debug, Clone)]
pub struct Config {
    /// The SQLite file; it is made when absent, its directory is not.
    pub database: PathBuf,
    /// The account that may add products.
    pub admin: Admin,
    /// What an empty shop is filled with.
    pub catalogue: Catalogue,
    /// How long a token is valid after login.
    pub token_lifetime: HumanDuration,
    /// How passwords are hashed.
    pub passwords: Passwords,
    /// What connections may do.
    pub connections: Connections,
    /// How the database is used.
    pub storage: Storage,
    /// The CSV file, not there yet, that gets a row for each exchange; `None` for no such file. `docs/protocol.md`
    /// describes it.
    pub trace: Option<PathBuf>,
}

impl Config {
    /// The defaults, with the database at `database`.
    pub fn new(database: impl Into<PathBuf>) -> Self {
        Self {
            database: database.into(),
            admin: Admin::default(),
            catalogue: Catalogue::Demo { stock: default::CATALOGUE_STOCK },
            token_lifetime: default::TOKEN_LIFETIME,
            passwords: Passwords::default(),
            connections: Connections::default(),
            storage: Storage::default(),
            trace: None,
        }
    }
}

/// The account that may add products. It is made when it is absent and never changed after that.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Its user name.
    pub username: String,
    /// Its first password; `None` invents one.
    pub password: Option<Secret>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { username: default::ADMIN_USERNAME.to_owned(), password: None }
    }
}

/// Catalogue of a shop without products at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Catalogue {
    /// Nothing.
    Empty,
    /// The built-in demonstration catalogue.
    Demo {
        /// Pieces of each product.
        stock: i64,
    },
}

/// How passwords are hashed, and by how many at a time.
#[derive(Debug, Clone)]
pub struct Passwords {
    /// What one hash costs.
    pub cost: HashCost,
    /// Threads that hash.
    pub workers: NonZeroUsize,
    /// Hashes that may wait for a thread; the next one is answered `overloaded`.
    pub queue: NonZeroUsize,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { cost: HashCost::default(), workers: default::password_workers(), queue: default::PASSWORD_QUEUE }
    }
}

/// The cost of one Argon2id hash.
#[derive(Debug, Clone)]
pub struct HashCost(argon2::Params);

impl HashCost {
    /// `memory_kib` KiB filled `iterations` times in `parallelism` lanes.
    ///
    /// # Errors
    /// When Argon2 has no such cost (RFC 9106, section 3.1: at least 8 KiB for every lane).
    pub fn new(memory_kib: u32, iterations: u32, parallelism: u32) -> Result<Self, ServerError> {
        argon2::Params::new(memory_kib, iterations, parallelism, None)
            .map(Self)
            .map_err(|source| ServerError::HashCost { memory_kib, iterations, parallelism, source })
    }

    /// For the hash function.
    pub(crate) fn params(&self) -> argon2::Params {
        self.0.clone()
    }
}

impl Default for HashCost {
    /// The minimum of OWASP's Password Storage Cheat Sheet for Argon2id: 19 MiB, 2 iterations, 1 lane.
    fn default() -> Self {
        // The library's own default is the same recommendation; a test below holds it to that.
        Self(argon2::Params::default())
    }
}

/// What connections may do.
#[derive(Debug, Clone)]
pub struct Connections {
    /// Connections on both ports together; the next one is answered `overloaded` and closed.
    pub max_connections: NonZeroUsize,
    /// A connection on which nothing moved for so long is closed.
    pub idle_timeout: HumanDuration,
    /// A request must be complete so long after its first byte.
    pub request_timeout: HumanDuration,
    /// How long requests that are in flight may take to finish after a shutdown was asked for.
    pub shutdown_grace: HumanDuration,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            max_connections: default::MAX_CONNECTIONS,
            idle_timeout: default::IDLE_TIMEOUT,
            request_timeout: default::REQUEST_TIMEOUT,
            shutdown_grace: default::SHUTDOWN_GRACE,
        }
    }
}

/// How the database is used.
#[derive(Debug, Clone)]
pub struct Storage {
    /// What a commit survives.
    pub durability: Durability,
    /// Writing requests in one transaction, at most.
    pub max_batch: NonZeroUsize,
}

impl Default for Storage {
    fn default() -> Self {
        Self { durability: Durability::Full, max_batch: default::MAX_BATCH }
    }
}

/// What an answered order survives. Both survive a crash of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Also a crash of the machine: SQLite syncs its log at every commit.
    Full,
    /// Not a crash of the machine: the last commits may be lost, the database stays whole.
    Normal,
}

impl Durability {
    /// The value of SQLite's `synchronous` pragma.
    pub(crate) fn pragma(self) -> &'static str {
        match self {
            Durability::Full => "FULL",
            Durability::Normal => "NORMAL",
        }
    }
}

/// The default of every setting that has one.
pub mod default {
    use super::{HumanDuration, NonZeroUsize, available_parallelism};

    /// See [`super::Config::database`].
    pub const DATABASE: &str = "shop.db";
    /// See [`super::Admin::username`].
    pub const ADMIN_USERNAME: &str = "admin";
    /// See [`super::Catalogue::Demo`], units.
    pub const CATALOGUE_STOCK: i64 = 1000;
    /// See [`super::Config::token_lifetime`].
    pub const TOKEN_LIFETIME: HumanDuration = HumanDuration::seconds(24 * 3600);
    /// See [`super::HashCost`], KiB.
    pub const PASSWORD_MEMORY_KIB: u32 = 19_456;
    /// See [`super::HashCost`].
    pub const PASSWORD_ITERATIONS: u32 = 2;
    /// See [`super::HashCost`], lanes.
    pub const PASSWORD_PARALLELISM: u32 = 1;
    /// See [`super::Passwords::queue`].
    pub const PASSWORD_QUEUE: NonZeroUsize = NonZeroUsize::new(256).expect("256 is above 0");
    /// See [`super::Connections::max_connections`].
    pub const MAX_CONNECTIONS: NonZeroUsize = NonZeroUsize::new(10_000).expect("10000 is above 0");
    /// See [`super::Connections::idle_timeout`].
    pub const IDLE_TIMEOUT: HumanDuration = HumanDuration::seconds(300);
    /// See [`super::Connections::request_timeout`].
    pub const REQUEST_TIMEOUT: HumanDuration = HumanDuration::seconds(30);
    /// See [`super::Connections::shutdown_grace`].
    pub const SHUTDOWN_GRACE: HumanDuration = HumanDuration::seconds(10);
    /// See [`super::Storage::max_batch`].
    pub const MAX_BATCH: NonZeroUsize = NonZeroUsize::new(128).expect("128 is above 0");

    /// Half the cores, so that logins leave the other half to orders.
    #[must_use]
    pub fn password_workers() -> NonZeroUsize {
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        NonZeroUsize::new(cores / 2).unwrap_or(NonZeroUsize::MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_cost_is_the_documented_one() {
        let cost = HashCost::default().0;
        assert_eq!(
            (cost.m_cost(), cost.t_cost(), cost.p_cost()),
            (default::PASSWORD_MEMORY_KIB, default::PASSWORD_ITERATIONS, default::PASSWORD_PARALLELISM)
        );
    }

    #[test]
    fn a_cost_that_argon2_does_not_have_is_refused() {
        let error = HashCost::new(7, 1, 1).unwrap_err().to_string();
        assert!(error.contains('7'), "{error}");
    }
}
