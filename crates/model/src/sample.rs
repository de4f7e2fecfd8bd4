//! The sample: one operation, one row of a client's CSV; and the row of `samples.csv`, which also names the cell.
//!
//! The only place that knows the columns of both. The client writes samples, the driver adds the labels of the cell, and
//! the analysis reads the rows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::cell::{Cell, SweptParameter};

/// Names of the columns of a client's CSV, in their order.
pub const COLUMNS: [&str; 26] = [
    "client",
    "user",
    "sequence",
    "operation",
    "phase",
    "start_us",
    "wait_ms",
    "connect_ms",
    "first_byte_ms",
    "rtt_ms",
    "service_ms",
    "latency_ms",
    "server_ms",
    "server_queue_ms",
    "server_database_ms",
    "tcp_rtt_ms",
    "tcp_min_rtt_ms",
    "tcp_rto_ms",
    "tcp_retransmits",
    "exchange_id",
    "server_tcp_rtt_ms",
    "server_tcp_rto_ms",
    "server_tcp_retransmits",
    "request_bytes",
    "response_bytes",
    "outcome",
];

/// Names of the columns that label the cell, in front of [`COLUMNS`] in `samples.csv`.
pub const LABELS: [&str; 5] = ["run_id", "cell", "condition", "value", "repetition"];

/// Returns the names of the columns of `samples.csv`, in their order.
pub fn row_columns() -> impl Iterator<Item = &'static str> + Clone {
    LABELS.into_iter().chain(COLUMNS)
}

/// Labels of a cell, the same for all its samples.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// Id of the run.
    pub run_id: String,
    /// Id of the cell, unique in the run (`loss-1%-r1`).
    pub cell: String,
    /// Swept parameter.
    pub condition: SweptParameter,
    /// Its value with its unit (`1%`, `50ms`, `100kbit`).
    pub value: String,
    /// Repetition, from 1.
    pub repetition: u32,
}

impl Labels {
    /// Returns the labels of `cell` in the run `run_id`.
    #[must_use]
    pub fn new(run_id: &str, cell: &Cell) -> Self {
        Self {
            run_id: run_id.to_owned(),
            cell: cell.id.clone(),
            condition: cell.swept_parameter,
            value: cell.value.clone(),
            repetition: cell.repetition,
        }
    }
}

/// One row of `samples.csv`. The fields of both parts are columns, in the order of [`row_columns`]: CSV readers and
/// writers must be without headers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleRow {
    /// Labels of the cell.
    pub labels: Labels,
    /// The sample.
    pub sample: Sample,
}

/// One operation that was tried. A value that could not be measured is `None` and an empty field in the CSV, never 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The client's name (`client-3`).
    pub client: String,
    /// Which virtual user of the client, from 0.
    pub user: u32,
    /// Position among the virtual user's operations in this cell, from 0.
    pub sequence: u64,
    /// What the virtual user did, as the protocol names the command (`view_products`).
    pub operation: String,
    /// Whether it belongs to what is measured or to the warm-up before.
    pub phase: Phase,
    /// Intended start, microseconds since the cell's start; that of the measured time when there is a warm-up, so
    /// negative in it.
    pub start_us: i64,
    /// Intended start to actual start, milliseconds: behind earlier work, when operations arrive by an arrival schedule
    /// (open loop); 0 in a closed loop.
    pub wait_ms: f64,
    /// TCP handshake, milliseconds; empty on a reused connection.
    pub connect_ms: Option<f64>,
    /// First byte of the request sent to first bytes of the response arrived in the kernel, milliseconds.
    pub first_byte_ms: Option<f64>,
    /// First byte of the request sent to last byte of the response arrived in the kernel, milliseconds.
    pub rtt_ms: Option<f64>,
    /// Actual start to response decoded (or to giving up), milliseconds: `latency_ms` without `wait_ms`.
    pub service_ms: f64,
    /// Intended start to response decoded (or to giving up), milliseconds.
    pub latency_ms: f64,
    /// The server's own handling time, milliseconds, as the response carries it.
    pub server_ms: Option<f64>,
    /// Of this, waiting for a thread of the server, milliseconds.
    pub server_queue_ms: Option<f64>,
    /// Of this, in the database: statements and, for what writes, the commit, milliseconds.
    pub server_database_ms: Option<f64>,
    /// The kernel's smoothed round-trip time of the connection after the operation (`tcpi_rtt`), milliseconds.
    pub tcp_rtt_ms: Option<f64>,
    /// The shortest round trip that the kernel saw on the connection (`tcpi_min_rtt`), milliseconds.
    pub tcp_min_rtt_ms: Option<f64>,
    /// The client's retransmission timeout of the connection after the operation (`tcpi_rto`), milliseconds.
    pub tcp_rto_ms: Option<f64>,
    /// Segments the client's side of the connection sent again (`tcpi_total_retrans`) during this operation.
    pub tcp_retransmits: Option<u32>,
    /// The server's number of this exchange, by which what only the server's side can tell is joined.
    pub exchange_id: Option<u64>,
    /// The server's side of the connection: smoothed round-trip time after the response was acknowledged, milliseconds.
    pub server_tcp_rtt_ms: Option<f64>,
    /// The server's side: retransmission timeout, milliseconds.
    pub server_tcp_rto_ms: Option<f64>,
    /// The server's side: segments sent again for this exchange, SYN-ACKs of a new connection included.
    pub server_tcp_retransmits: Option<u32>,
    /// Bytes of the request frame, its length prefix included.
    pub request_bytes: Option<u64>,
    /// Bytes of the response frame, its length prefix included.
    pub response_bytes: Option<u64>,
    /// How it ended.
    pub outcome: Outcome,
}

impl Sample {
    /// An operation of which only this is known: its latency was all service, and everything else is empty.
    #[must_use]
    pub fn tried(operation: &str, outcome: Outcome, latency_ms: f64) -> Self {
        Self {
            client: String::new(),
            user: 0,
            sequence: 0,
            operation: operation.to_owned(),
            phase: Phase::Measured,
            start_us: 0,
            wait_ms: 0.0,
            connect_ms: None,
            first_byte_ms: None,
            rtt_ms: None,
            service_ms: latency_ms,
            latency_ms,
            server_ms: None,
            server_queue_ms: None,
            server_database_ms: None,
            tcp_rtt_ms: None,
            tcp_min_rtt_ms: None,
            tcp_rto_ms: None,
            tcp_retransmits: None,
            exchange_id: None,
            server_tcp_rtt_ms: None,
            server_tcp_rto_ms: None,
            server_tcp_retransmits: None,
            request_bytes: None,
            response_bytes: None,
            outcome,
        }
    }
}

/// Which part of a cell an operation belongs to, by its intended start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Before the measured time: kept as a row, and part of no statistics.
    WarmUp,
    /// The measured time.
    Measured,
}

impl Phase {
    /// Returns its name in the CSV.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::WarmUp => "warm_up",
            Phase::Measured => "measured",
        }
    }
}

impl FromStr for Phase {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Phase::WarmUp, Phase::Measured]
            .into_iter()
            .find(|phase| phase.as_str() == text)
            .ok_or_else(|| format!("invalid phase '{text}': expected warm_up or measured"))
    }
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
