//! The workload of a scenario.

use serde::{Deserialize, Serialize};

use crate::scenario::load::{ArrivalRate, Arrivals};
use model::HumanDuration;

/// Behaviour of the virtual users; the options of `shop-client workload`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Workload {
    /// Virtual users per client.
    pub(crate) users: u32,
    /// Mean think time between two operations of a virtual user, in a closed loop.
    pub(crate) think_time: HumanDuration,
    /// Rate at which all clients together start operations (open loop). Without it each user waits for the response and
    /// its think time before the next operation (closed loop).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) arrival_rate: Option<ArrivalRate>,
    /// Arrival process of the open loop.
    #[serde(default)]
    pub(crate) arrivals: Arrivals,
    /// Connection mode.
    pub(crate) connection: Connection,
    /// Origin of the users' accounts.
    pub(crate) accounts: Accounts,
    /// Products per page.
    pub(crate) page_size: u32,
    /// Timeout of a request without a response.
    pub(crate) request_timeout: HumanDuration,
    /// Timeout of a TCP handshake.
    pub(crate) connect_timeout: HumanDuration,
}

/// Connection mode of virtual users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Connection {
    /// A new TCP connection for each request.
    PerRequest,
    /// One persistent TCP connection per user and port.
    Persistent,
}

impl Connection {
    /// Returns the name in files and options.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Connection::PerRequest => "per-request",
            Connection::Persistent => "persistent",
        }
    }
}

/// Origin of the virtual users' accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Accounts {
    /// Each iteration registers a new account; registering is measured.
    Fresh,
    /// One account per user, created before the measurement window.
    Prepared,
}

impl Accounts {
    /// Returns the name in files and options.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Accounts::Fresh => "fresh",
            Accounts::Prepared => "prepared",
        }
    }
}
