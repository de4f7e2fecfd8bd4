//! Settings of the shop, with their defaults. `cli/options.rs` defines the flags.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;

pub use model::settings::{Durability, TlsVersion};
use model::units::PositiveDuration;
use tls::Identity;

use crate::error::ServerError;
use crate::secret::Secret;

/// Settings of a shop, except its sockets.
#[derive(Debug, Clone)]
pub struct Config {
    /// SQLite file; created if absent. Its directory must exist.
    pub database: PathBuf,
    /// Administrator's account.
    pub admin: Admin,
    /// Products of a shop that has none.
    pub catalogue: Catalogue,
    /// Lifetime of a token after login.
    pub token_lifetime: PositiveDuration,
    /// Password hashing.
    pub passwords: Passwords,
    /// Limits of connections.
    pub connections: Connections,
    /// Use of the database.
    pub storage: Storage,
    /// Encryption of both ports; `None` for clear text.
    pub tls: Option<Tls>,
    /// New CSV file with a row per exchange, if requested. `docs/protocol.md` describes it.
    pub trace: Option<PathBuf>,
}

impl Config {
    /// Returns the defaults, with the database at `database`.
    pub fn new(database: impl Into<PathBuf>) -> Self {
        Self {
            database: database.into(),
            admin: Admin::default(),
            catalogue: Catalogue::Demo { stock: default::CATALOGUE_STOCK },
            token_lifetime: default::TOKEN_LIFETIME,
            passwords: Passwords::default(),
            connections: Connections::default(),
            storage: Storage::default(),
            tls: None,
            trace: None,
        }
    }
}

/// Account that may add products. It is created if absent; an existing one is not changed.
#[derive(Debug, Clone)]
pub struct Admin {
    /// User name.
    pub username: String,
    /// Initial password; `None` generates one.
    pub password: Option<Secret>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { username: default::ADMIN_USERNAME.to_owned(), password: None }
    }
}

/// Products that are added at the start to a shop without products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Catalogue {
    /// No products.
    Empty,
    /// Built-in demonstration catalogue.
    Demo {
        /// Units of each product.
        stock: i64,
    },
}

/// Settings of password hashing.
#[derive(Debug, Clone)]
pub struct Passwords {
    /// Cost of one hash.
    pub cost: HashCost,
    /// Number of hashing threads.
    pub workers: NonZeroUsize,
    /// Maximum number of hashes waiting for a thread; further requests get `overloaded`.
    pub queue: NonZeroUsize,
    /// Failed logins of an account, and a quarter of those of an address, after which further ones must wait; 0 for no
    /// limit.
    pub max_failed_logins: u32,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            cost: HashCost::default(),
            workers: default::password_workers(),
            queue: default::PASSWORD_QUEUE,
            max_failed_logins: default::MAX_FAILED_LOGINS,
        }
    }
}

/// Cost of one Argon2id hash.
#[derive(Debug, Clone)]
pub struct HashCost(argon2::Params);

impl HashCost {
    /// Returns the cost of filling `memory_kib` KiB `iterations` times in `parallelism` lanes.
    ///
    /// # Errors
    /// Argon2 does not support the cost (RFC 9106, section 3.1: at least 8 KiB per lane).
    pub fn new(memory_kib: u32, iterations: u32, parallelism: u32) -> Result<Self, ServerError> {
        argon2::Params::new(memory_kib, iterations, parallelism, None)
            .map(Self)
            .map_err(|cause| ServerError::HashCost { memory_kib, iterations, parallelism, cause })
    }

    /// Returns the parameters of the hash function.
    pub(crate) fn params(&self) -> argon2::Params {
        self.0.clone()
    }
}

impl Default for HashCost {
    /// Returns the minimum of OWASP's Password Storage Cheat Sheet for Argon2id: 19 MiB, 2 iterations, 1 lane.
    fn default() -> Self {
        // The library's default follows the same recommendation; a test below verifies it.
        Self(argon2::Params::default())
    }
}

/// Settings of TLS.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The only accepted version.
    pub version: TlsVersion,
    /// Certificate and private key.
    pub identity: Arc<Identity>,
}

/// Limits of connections.
#[derive(Debug, Clone)]
pub struct Connections {
    /// Maximum number of connections on both ports together; further ones get `overloaded` and are closed.
    pub max_connections: NonZeroUsize,
    /// Maximum number of connections of one address on both ports together; `None` for no other limit.
    pub max_connections_per_address: Option<NonZeroUsize>,
    /// Memory for requests and unread responses of all connections together, MiB. Each of `max_connections` has 16 KiB of
    /// it, and larger ones share the rest, at least 16 MiB.
    pub buffer_budget_mib: NonZeroUsize,
    /// Time within which the first byte of a connection must arrive.
    pub first_request_timeout: PositiveDuration,
    /// Time without bytes in either direction after which a connection is closed.
    pub idle_timeout: PositiveDuration,
    /// Time from the first byte of a request within which it must be complete.
    pub request_timeout: PositiveDuration,
    /// Grace period of requests in flight after a shutdown.
    pub shutdown_grace: PositiveDuration,
    /// Server time from which an operation is logged as slow.
    pub slow_operation: PositiveDuration,
    /// Whether the metrics have the retransmissions of connections; reading them takes a system call per connection.
    pub counts_retransmits: bool,
}

impl Connections {
    /// Returns [`Connections::slow_operation`] in microseconds.
    pub(crate) fn slow_operation_us(&self) -> u64 {
        u64::try_from(self.slow_operation.as_duration().as_micros()).unwrap_or(u64::MAX)
    }
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            max_connections: default::MAX_CONNECTIONS,
            max_connections_per_address: None,
            buffer_budget_mib: default::BUFFER_BUDGET_MIB,
            first_request_timeout: default::FIRST_REQUEST_TIMEOUT,
            idle_timeout: default::IDLE_TIMEOUT,
            request_timeout: default::REQUEST_TIMEOUT,
            shutdown_grace: default::SHUTDOWN_GRACE,
            slow_operation: default::SLOW_OPERATION,
            counts_retransmits: false,
        }
    }
}

/// Settings of the database.
#[derive(Debug, Clone)]
pub struct Storage {
    /// Durability of commits.
    pub durability: Durability,
    /// Maximum number of writing requests in one transaction.
    pub max_batch: NonZeroUsize,
}

impl Default for Storage {
    fn default() -> Self {
        Self { durability: Durability::Full, max_batch: default::MAX_BATCH }
    }
}

/// Default values.
pub(crate) mod default {
    use super::{NonZeroUsize, PositiveDuration, available_parallelism};

    /// See [`super::Config::database`].
    pub(crate) const DATABASE: &str = "shop.db";
    /// See [`super::Admin::username`].
    pub(crate) const ADMIN_USERNAME: &str = "admin";
    /// See [`super::Catalogue::Demo`], units.
    pub(crate) const CATALOGUE_STOCK: i64 = 1000;
    /// See [`super::Config::token_lifetime`].
    pub(crate) const TOKEN_LIFETIME: PositiveDuration = PositiveDuration::seconds(24 * 3600);
    /// See [`super::HashCost`], lanes.
    pub(crate) const PASSWORD_PARALLELISM: u32 = 1;
    /// See [`super::Passwords::queue`].
    pub(crate) const PASSWORD_QUEUE: NonZeroUsize = NonZeroUsize::new(256).expect("256 is above 0");
    /// See [`super::Passwords::max_failed_logins`].
    pub(crate) const MAX_FAILED_LOGINS: u32 = 5;
    /// See [`super::Connections::max_connections`].
    pub(crate) const MAX_CONNECTIONS: NonZeroUsize = NonZeroUsize::new(10_000).expect("10000 is above 0");
    /// See [`super::Connections::buffer_budget_mib`].
    pub(crate) const BUFFER_BUDGET_MIB: NonZeroUsize = NonZeroUsize::new(256).expect("256 is above 0");
    /// See [`super::Connections::first_request_timeout`].
    pub(crate) const FIRST_REQUEST_TIMEOUT: PositiveDuration = PositiveDuration::seconds(30);
    /// See [`super::Connections::idle_timeout`].
    pub(crate) const IDLE_TIMEOUT: PositiveDuration = PositiveDuration::seconds(300);
    /// See [`super::Connections::request_timeout`].
    pub(crate) const REQUEST_TIMEOUT: PositiveDuration = PositiveDuration::seconds(30);
    /// See [`super::Connections::shutdown_grace`].
    pub(crate) const SHUTDOWN_GRACE: PositiveDuration = PositiveDuration::seconds(10);
    /// See [`super::Connections::slow_operation`].
    pub(crate) const SLOW_OPERATION: PositiveDuration = PositiveDuration::seconds(1);
    /// See [`super::Storage::max_batch`].
    pub(crate) const MAX_BATCH: NonZeroUsize = NonZeroUsize::new(128).expect("128 is above 0");

    /// Returns half the number of cores, so that logins leave the other half to orders.
    pub(crate) fn password_workers() -> NonZeroUsize {
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        NonZeroUsize::new(cores / 2).unwrap_or(NonZeroUsize::MIN)
    }
}

#[cfg(test)]
mod tests {
    use model::settings::Shop;
    use model::units::Count;
    use protocol::limits;

    use super::*;

    #[test]
    fn the_default_cost_is_the_documented_one() {
        let cost = HashCost::default().0;
        let shop: Shop = model::settings::defaults().unwrap();
        assert_eq!(
            (cost.m_cost(), cost.t_cost(), cost.p_cost()),
            (shop.password_memory_kib.get(), shop.password_iterations.get(), default::PASSWORD_PARALLELISM)
        );
        assert_eq!(i64::from(shop.catalogue_stock.get()), default::CATALOGUE_STOCK);
    }

    #[test]
    fn the_bounds_of_settings_are_those_of_the_protocol() {
        assert_eq!(Count::<0, 1_000_000_000>::range(), format!("{}..{}", limits::STOCK.start(), limits::STOCK.end()));
    }

    #[test]
    fn a_cost_that_argon2_does_not_support_is_rejected() {
        let error = HashCost::new(7, 1, 1).unwrap_err().to_string();
        assert!(error.contains('7'), "{error}");
    }
}
