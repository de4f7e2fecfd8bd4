//! What the shoppers of a scenario do.

use serde::{Deserialize, Serialize};

use crate::scenario::load::{ArrivalRate, Arrivals};
use model::HumanDuration;

/// What the shoppers do; the options of `shop-client workload`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Workload {
    /// Virtual shoppers per client.
    pub(crate) users: u32,
    /// Mean pause between two operations of a shopper, in a closed loop.
    pub(crate) think_time: HumanDuration,
    /// Operations that all clients together begin in a time (open loop); without it each shopper waits for its answer
    /// and thinks before its next operation (closed loop).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) arrival_rate: Option<ArrivalRate>,
    /// How these are spread.
    #[serde(default)]
    pub(crate) arrivals: Arrivals,
    /// A connection per request, or one that is kept.
    pub(crate) connection: Connection,
    /// New accounts in the measured time, or made before it.
    pub(crate) accounts: Accounts,
    /// Products on a page.
    pub(crate) page_size: u32,
    /// When an unanswered request is given up.
    pub(crate) request_timeout: HumanDuration,
    /// When an unanswered handshake is given up.
    pub(crate) connect_timeout: HumanDuration,
}

/// How shoppers connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Connection {
    /// A new TCP connection for each request, as the original did.
    PerRequest,
    /// One TCP connection per shopper and port, kept.
    Persistent,
}

impl Connection {
    /// The word in files and options.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Connection::PerRequest => "per-request",
            Connection::Persistent => "persistent",
        }
    }
}

/// Where the shoppers' accounts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Accounts {
    /// Each turn of the workload registers a new one.
    Fresh,
    /// Made before the measured time.
    Prepared,
}

impl Accounts {
    /// The word in files and options.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Accounts::Fresh => "fresh",
            Accounts::Prepared => "prepared",
        }
    }
}
