//! The sample: one operation that was tried, one row of a client's CSV.
//!
//! This is the only place that knows the columns of `samples.csv`. The client writes them, the driver's analysis reads
//! them. Nothing here touches files or clocks.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The names of all columns, in the order in which they are written.
pub const COLUMNS: [&str; 19] = [
    "run_id",
    "cell",
    "condition",
    "value",
    "repetition",
    "client",
    "user",
    "sequence",
    "operation",
    "start_us",
    "connect_ms",
    "rtt_ms",
    "latency_ms",
    "server_ms",
    "tcp_rtt_ms",
    "tcp_retransmits",
    "request_bytes",
    "response_bytes",
    "outcome",
];

/// One operation that was tried. A value that could not be measured is `None` and an empty field in the CSV, never 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The run's id; this and the next five are empty when a client runs by itself.
    pub run_id: String,
    /// The cell's id, unique in the run (`loss-1%-r1`).
    pub cell: String,
    /// What is varied in this cell: `loss`, `delay`, `rate` …
    pub condition: String,
    /// The value it is set to, with its unit (`1%`, `50ms`, `100kbit`).
    pub value: String,
    /// Which repetition of the cell, from 1.
    pub repetition: Option<u32>,
    /// The client's name (`client-3`).
    pub client: String,
    /// Which virtual shopper of the client, from 0.
    pub user: u32,
    /// Position among the shopper's operations in this cell, from 0.
    pub sequence: u64,
    /// What the shopper did, as the protocol names the command (`view_products`).
    pub operation: String,
    /// Intended start, microseconds since the cell's start.
    pub start_us: u64,
    /// TCP handshake, milliseconds; empty on a reused connection.
    pub connect_ms: Option<f64>,
    /// First byte of the request sent to last byte of the response read, milliseconds.
    pub rtt_ms: Option<f64>,
    /// Intended start to response decoded (or to giving up), milliseconds.
    pub latency_ms: f64,
    /// The server's own handling time, milliseconds, as the response carries it.
    pub server_ms: Option<f64>,
    /// The kernel's smoothed round-trip time of the connection after the operation (`tcpi_rtt`), milliseconds.
    pub tcp_rtt_ms: Option<f64>,
    /// Segments the client's side of the connection sent again (`tcpi_total_retrans`) during this operation.
    pub tcp_retransmits: Option<u32>,
    /// Bytes of the request frame, its length prefix included.
    pub request_bytes: Option<u64>,
    /// Bytes of the response frame, its length prefix included.
    pub response_bytes: Option<u64>,
    /// How it ended.
    pub outcome: Outcome,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The shop did it.
    Ok,
    /// The shop said no: out of stock, wrong password …
    Refused,
    /// No complete answer within the request timeout.
    Timeout,
    /// The connection could not be made (refused, unreachable, or its handshake timed out).
    ConnectFailed,
    /// The connection broke before the answer was complete.
    Reset,
    /// The answer was not what the protocol allows.
    Protocol,
}

impl Outcome {
    /// Every outcome, the good one first.
    pub const ALL: [Outcome; 6] =
        [Outcome::Ok, Outcome::Refused, Outcome::Timeout, Outcome::ConnectFailed, Outcome::Reset, Outcome::Protocol];

    /// The word in the CSV.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Refused => "refused",
            Outcome::Timeout => "timeout",
            Outcome::ConnectFailed => "connect_failed",
            Outcome::Reset => "reset",
            Outcome::Protocol => "protocol",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Outcome {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Outcome::ALL
            .into_iter()
            .find(|outcome| outcome.as_str() == text)
            .ok_or_else(|| format!("outcome '{text}': one of ok, refused, timeout, connect_failed, reset, protocol"))
    }
}
