//! Settings of a workload: as a command line or the driver gives them, and resolved.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use model::ArrivalRate;
use model::settings::{ArrivalProcess, Workload};
use model::units::{HumanDuration, PositiveDuration};
use serde::{Deserialize, Serialize};

use crate::transport::{Endpoints, ShopAddress, Timeouts};
use crate::workload::seed;

/// Configuration of `shop-client workload`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct WorkloadConfig {
    /// Address of the shop
    #[command(flatten)]
    pub shop: ShopAddress,
    /// Warm-up before the measurement window; its rows have the phase warm_up and a negative start_us
    #[arg(long, value_name = "TIME", default_value = "0s")]
    pub warm_up: HumanDuration,
    /// Measurement window [default: 30s, without --operations]; operations in flight at its end may take 15 s more
    #[arg(long, value_name = "TIME")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<PositiveDuration>,
    /// Stop after N measured operations (closed loop: divided evenly among the virtual users)
    #[arg(long, value_name = "N")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operations: Option<u64>,
    /// Constant arrivals: delay of the first one, so that the arrivals of clients alternate
    #[arg(long, value_name = "TIME", default_value = "0s")]
    pub arrival_offset: HumanDuration,
    /// Timeout of creating all accounts, with --accounts prepared
    #[arg(long, value_name = "TIME", default_value = "2m")]
    pub prepare_timeout: PositiveDuration,
    /// Seed of all decisions: names, products, quantities, stars, think times, arrivals [default: random]
    #[arg(long, value_name = "N")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Name of this client: clients with the same seed and different names decide differently
    #[arg(long, value_name = "NAME", default_value = "")]
    pub client: String,
    /// Texts that make the account names differ from those of other workloads with the same seed and client
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub account_scope: Vec<String>,
    /// CSV file of the samples; '-' is stdout; an existing file is replaced
    #[arg(long, value_name = "FILE")]
    pub csv: PathBuf,
    /// Administrator account, to add products when the stock runs out (without it such orders are refused)
    #[arg(long, value_name = "NAME")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_username: Option<String>,
    /// File with the administrator's password; or set SHOP_ADMIN_PASSWORD
    #[arg(long, value_name = "FILE")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_password_file: Option<PathBuf>,
    /// For the driver: print events as JSON lines, wait for 'go' on stdin
    #[arg(long)]
    pub control: bool,
    /// Behaviour of the virtual users
    #[command(flatten)]
    pub workload: Workload,
}

/// A resolved workload: the address is looked up, the seed drawn, the password read.
#[derive(Clone)]
pub struct Settings {
    /// Address of the shop.
    pub endpoints: Endpoints,
    /// Behaviour of the virtual users.
    pub workload: Workload,
    /// Warm-up before the measurement window.
    pub warm_up: Duration,
    /// End of the workload.
    pub until: Until,
    /// Delay of the first of constant arrivals.
    pub arrival_offset: Duration,
    /// Timeout of creating all accounts.
    pub prepare_timeout: Duration,
    /// Seed of all decisions.
    pub seed: u64,
    /// Name of this client, part of the seed of every decision.
    pub client: String,
    /// Texts that make account names differ from those of other workloads.
    pub account_scope: Vec<String>,
    /// The account that may add products when the stock runs out; without it virtual users continue with other products.
    pub admin: Option<Credentials>,
}

/// Rule by which operations start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Load {
    /// Closed loop: a think time after each operation, so a slow response delays the next request.
    Closed {
        /// Mean think time before each operation; think times are uniform from 0.5 to 1.5 times this.
        think_time: Duration,
    },
    /// Open loop: by an arrival schedule, regardless of response times.
    Open(Arrivals),
}

/// Arrivals of an open loop, in this process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrivals {
    /// Mean rate.
    pub rate: ArrivalRate,
    /// Distribution of the intervals.
    pub process: ArrivalProcess,
    /// Delay of the first of constant arrivals.
    pub offset: Duration,
}

/// When a workload ends. The warm-up counts for neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Until {
    /// Duration of the measurement window.
    pub elapsed: Option<Duration>,
    /// Maximum number of operations that this process starts. In a closed loop they are divided evenly among the
    /// virtual users.
    pub operations: Option<u64>,
}

impl Until {
    /// Returns how many of the operations are for virtual user `user` of `users`.
    pub(super) fn share(&self, user: u32, users: NonZeroU32) -> Option<u64> {
        let users = u64::from(users.get());
        self.operations.map(|all| all / users + u64::from(u64::from(user) < all % users))
    }
}

/// A user name and its password. No `Debug`: it must not reach a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
}

impl Settings {
    /// Returns the number of virtual users in this process.
    pub fn users(&self) -> NonZeroU32 {
        self.workload.users.non_zero().unwrap_or(NonZeroU32::MIN)
    }

    /// Returns when operations start.
    pub fn load(&self) -> Load {
        let Workload { think_time, arrival_rate, arrivals, .. } = self.workload;
        match arrival_rate {
            None => Load::Closed { think_time: think_time.as_duration() },
            Some(rate) => Load::Open(Arrivals { rate, process: arrivals, offset: self.arrival_offset }),
        }
    }

    /// Returns the timeouts of connections and requests.
    pub fn timeouts(&self) -> Timeouts {
        Timeouts {
            connect: self.workload.connect_timeout.as_duration(),
            request: self.workload.request_timeout.as_duration(),
        }
    }

    /// Returns when no operation starts any more, since the start of the warm-up.
    pub(super) fn end(&self) -> Option<Duration> {
        self.until.elapsed.map(|measured| self.warm_up + measured)
    }

    /// Returns the account of virtual user `user` for iteration `iteration`: the same for the same seed, scope and
    /// client, and of constant length.
    pub(super) fn account(&self, user: u32, iteration: u64) -> Credentials {
        let seed = self.seed.to_string();
        let scope = self.account_scope.iter().map(String::as_str);
        let parts: Vec<&str> = [seed.as_str()].into_iter().chain(scope).chain([self.client.as_str()]).collect();
        let prefix = seed::hash(&parts);
        let mut secret = seed::Stream::new(self.seed, &self.client, user, seed::Purpose::Password(iteration));
        Credentials {
            username: format!("s{prefix:016x}-{user:06}-{iteration:07}"),
            password: format!("{:016x}{:016x}", secret.bits(), secret.bits()),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    /// Returns settings for a shop that is not running.
    pub(in crate::workload) fn settings() -> Settings {
        Settings {
            endpoints: Endpoints {
                address: IpAddr::V4(Ipv4Addr::LOCALHOST),
                accounts_port: 1,
                shop_port: 1,
                tls: None,
            },
            workload: Workload { think_time: HumanDuration::default(), ..model::settings::defaults().unwrap() },
            warm_up: Duration::ZERO,
            until: Until { elapsed: None, operations: Some(1) },
            arrival_offset: Duration::ZERO,
            prepare_timeout: Duration::from_secs(1),
            seed: 1,
            client: String::new(),
            account_scope: Vec::new(),
            admin: None,
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
            let (account_scope, client) = (vec![cell.to_owned()], client.to_owned());
            Settings { account_scope, client, ..settings() }.account(1, 2)
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
