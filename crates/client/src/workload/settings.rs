//! What a workload is told, as types: everything here was checked already.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::transport::{ConnectionMode, Endpoints, Timeouts};
use crate::workload::arrival_schedule::Arrivals;
use crate::workload::seed;

/// A whole workload.
#[derive(Clone)]
pub struct Settings {
    /// Where the shop is.
    pub endpoints: Endpoints,
    /// When connections are made.
    pub connection: ConnectionMode,
    /// How long to wait for the shop.
    pub timeouts: Timeouts,
    /// Virtual users in this process.
    pub users: NonZeroU32,
    /// Before the measured time; its operations get rows that say so.
    pub warm_up: Duration,
    /// When it ends.
    pub until: Until,
    /// When operations start.
    pub load: Load,
    /// What all decisions come from.
    pub seed: u64,
    /// Rows asked for by `view_products`.
    pub page_size: u32,
    /// When accounts are made.
    pub accounts: Accounts,
    /// Who may add products when the stock runs out; without them virtual users continue with other products.
    pub admin: Option<Credentials>,
    /// What stands in front of each row.
    pub labels: Labels,
}

/// When operations start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Load {
    /// Closed loop: a pause after the last one, so that a slow answer delays the next request.
    Closed {
        /// Mean pause before each operation; pauses are uniform in 0.5 … 1.5 times this.
        think_time: Duration,
    },
    /// Open loop: by an arrival schedule, whatever became of those before.
    Open(Arrivals),
}

/// When a workload ends by itself. The warm-up counts for neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Until {
    /// After this time.
    pub elapsed: Option<Duration>,
    /// After this many operations were started in this process. In a closed loop they are divided evenly among the
    /// virtual users.
    pub operations: Option<u64>,
}

impl Until {
    /// How many of the operations are for virtual user `user` of `users`.
    pub(super) fn share(&self, user: u32, users: NonZeroU32) -> Option<u64> {
        let users = u64::from(users.get());
        self.operations.map(|all| all / users + u64::from(u64::from(user) < all % users))
    }
}

/// When accounts are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accounts {
    /// Each turn registers a new user, as the original project does; registering is measured.
    Fresh,
    /// Each virtual user's one account is made before the measured time.
    Prepared {
        /// Making all of them may take this long.
        within: Duration,
    },
}

/// A name and its password. No `Debug`: it must not reach a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
}

/// Columns with the same value in all rows of a client; empty if not given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// `run_id`.
    pub run_id: String,
    /// `cell`.
    pub cell: String,
    /// `condition`.
    pub condition: String,
    /// `value`.
    pub value: String,
    /// `repetition`.
    pub repetition: Option<u32>,
    /// `client`.
    pub client: String,
}

impl Settings {
    /// When no operation starts any more, since the start of the warm-up.
    pub(super) fn end(&self) -> Option<Duration> {
        self.until.elapsed.map(|measured| self.warm_up + measured)
    }

    /// The account of virtual user `user` for turn `turn`: the same for the same seed and labels, and of constant
    /// length.
    pub(super) fn account(&self, user: u32, turn: u64) -> Credentials {
        let labels = &self.labels;
        let repetition = labels.repetition.map(|number| number.to_string()).unwrap_or_default();
        let seed = self.seed.to_string();
        let place = seed::hash(&[&seed, &labels.run_id, &labels.cell, &repetition, &labels.client]);
        let mut secret = seed::Stream::new(self.seed, &labels.client, user, seed::Purpose::Password(turn));
        Credentials {
            username: format!("s{place:016x}-{user:06}-{turn:07}"),
            password: format!("{:016x}{:016x}", secret.bits(), secret.bits()),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    /// Settings for a shop that does not run.
    pub(in crate::workload) fn settings() -> Settings {
        Settings {
            endpoints: Endpoints { address: IpAddr::V4(Ipv4Addr::LOCALHOST), accounts_port: 1, shop_port: 1 },
            connection: ConnectionMode::PerRequest,
            timeouts: Timeouts { connect: Duration::from_secs(1), request: Duration::from_secs(1) },
            users: NonZeroU32::MIN,
            warm_up: Duration::ZERO,
            until: Until { elapsed: None, operations: Some(1) },
            load: Load::Closed { think_time: Duration::ZERO },
            seed: 1,
            page_size: 20,
            accounts: Accounts::Fresh,
            admin: None,
            labels: Labels::default(),
        }
    }

    #[test]
    fn operations_are_divided_evenly() {
        let until = Until { elapsed: None, operations: Some(10) };
        let users = NonZeroU32::new(4).unwrap();
        let shares: Vec<u64> = (0..4).filter_map(|user| until.share(user, users)).collect();
        assert_eq!(shares, [3, 3, 2, 2]);
        assert_eq!(Until { elapsed: None, operations: None }.share(0, users), None);
    }

    #[test]
    fn account_names_are_accepted_by_the_shop_and_differ_by_cell_and_client() {
        let in_cell = |cell: &str, client: &str| {
            let mut settings = settings();
            settings.labels.cell = cell.to_owned();
            settings.labels.client = client.to_owned();
            settings.account(1, 2)
        };
        let account = in_cell("a", "x");
        assert!(protocol::limits::USERNAME_CHARS.contains(&account.username.len()));
        assert!(account.username.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'));
        assert!(protocol::limits::PASSWORD_BYTES.contains(&account.password.len()));
        assert!(account == in_cell("a", "x"));
        assert_ne!(account.username, in_cell("b", "x").username);
        assert_ne!(account.username, in_cell("a", "y").username);
    }
}
