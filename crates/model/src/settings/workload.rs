//! Settings of the workload.

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::units::{ArrivalRate, Count, HumanDuration, PositiveDuration};

/// Behaviour of the virtual users.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
#[group(id = "workload")]
#[command(next_help_heading = "Workload")]
pub struct Workload {
    /// Virtual users per client
    #[arg(long, value_name = Count::<1, 100_000>::range(), default_value = "1")]
    pub users: Count<1, 100_000>,
    /// Closed loop: mean think time of a virtual user before each operation, uniform from 0.5 to 1.5 times this
    #[arg(long, value_name = "TIME", default_value = "100ms")]
    pub think_time: HumanDuration,
    /// Open loop: start operations at this rate regardless of response times ('200/s'; /s, /m or /h); latency counts from
    /// the intended start
    #[arg(long, value_name = "RATE", conflicts_with = "think_time")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrival_rate: Option<ArrivalRate>,
    /// Arrival process of an open loop
    #[arg(long, value_enum, default_value = "poisson")]
    pub arrivals: ArrivalProcess,
    /// Connection mode
    #[arg(long, value_enum, default_value = "per-request")]
    pub connection: ConnectionMode,
    /// Origin of the users' accounts
    #[arg(long, value_enum, default_value = "fresh")]
    pub accounts: Accounts,
    /// Products per page of view_products
    #[arg(long, value_name = Count::<1, 100>::range(), default_value = "20")]
    pub page_size: Count<1, 100>,
    /// Timeout of a request: from its first byte sent to the complete response
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub request_timeout: PositiveDuration,
    /// Timeout of the handshakes of a connection, TCP and TLS together
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub connect_timeout: PositiveDuration,
}

/// Maximum arrival rate of one client, operations per second: more than a process can start.
const MAX_ARRIVALS_PER_CLIENT: f64 = 1e6;

impl Workload {
    /// Checks the settings of a workload that this number of clients share.
    ///
    /// # Errors
    /// The arrival rate is too high for one client.
    pub fn check(&self, clients: u32) -> Result<(), String> {
        match self.arrival_rate.map(|rate| (rate, rate.per_client(clients))) {
            Some((rate, share)) if share.per_second() > MAX_ARRIVALS_PER_CLIENT => Err(format!(
                "invalid arrival rate '{rate}': {:.0}/s per client, must be at most {MAX_ARRIVALS_PER_CLIENT:.0}/s",
                share.per_second()
            )),
            _ => Ok(()),
        }
    }

    /// Checks that the given flags apply to this workload. `is_given` returns whether a flag is given.
    ///
    /// # Errors
    /// A flag does not apply.
    pub fn check_flags(&self, is_given: impl Fn(&str) -> bool) -> Result<(), String> {
        match self.arrival_rate {
            Some(rate) if is_given("think_time") => Err(format!(
                "--think-time conflicts with the arrival rate {rate}: an open loop has no think time; omit it"
            )),
            None if is_given("arrivals") => Err("--arrivals requires --arrival-rate (e.g. 200/s)".to_owned()),
            _ => Ok(()),
        }
    }
}

/// Arrival process of an open loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ArrivalProcess {
    /// At constant intervals
    Constant,
    /// Independent arrivals, like those of many users: exponentially distributed intervals
    Poisson,
}

/// Connection mode of virtual users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectionMode {
    /// A new TCP connection for each request
    PerRequest,
    /// One TCP connection per user and port, kept open and reopened after a failure
    Persistent,
}

/// Origin of the virtual users' accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Accounts {
    /// Each iteration registers a new account; registering is measured
    Fresh,
    /// One account per user, created before the measurement window
    Prepared,
}
