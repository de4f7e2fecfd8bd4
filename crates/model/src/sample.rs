//! The sample of an operation, which is a row of a client's CSV, and the row of `samples.csv`, which also labels the cell.
//!
//! The columns of both are defined only here. The client writes samples, the driver adds the labels of the cell, and the
//! analysis reads the rows.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

use crate::cell::{Cell, SweptParameter};
use crate::names::name_list;

/// Names of the columns of a client's CSV, in their order.
pub const COLUMNS: [&str; 28] = [
    "client",
    "user",
    "sequence",
    "operation",
    "phase",
    "start_us",
    "wait_ms",
    "connect_ms",
    "tls_ms",
    "tls_round_trips",
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
    /// Value of the swept parameter, with its unit (`1%`, `50ms`, `100kbit`).
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

/// One row of `samples.csv`. Its columns are the fields of both parts, in the order of [`row_columns`]: CSV readers and
/// writers must be configured without headers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleRow {
    /// Labels of the cell.
    pub labels: Labels,
    /// The sample.
    pub sample: Sample,
}

/// One operation. A value that could not be measured is `None`, and an empty field in the CSV, never 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Name of the client (`client-3`).
    pub client: String,
    /// Number of the virtual user in its client, from 0.
    pub user: u32,
    /// Number of the operation among those of its virtual user in this cell, from 0.
    pub sequence: u64,
    /// Command of the protocol (`view_products`).
    pub operation: String,
    /// Phase of the cell.
    pub phase: Phase,
    /// Intended start, microseconds since the start of the measurement window; negative in the warm-up.
    pub start_us: i64,
    /// Intended start to actual start, milliseconds: the time in the queue of an open loop; 0 in a closed loop.
    pub wait_ms: f64,
    /// TCP handshake, milliseconds; empty on a reused connection.
    pub connect_ms: Option<f64>,
    /// TLS handshake, with the computations of both ends, milliseconds; empty on a reused connection and in clear text.
    pub tls_ms: Option<f64>,
    /// Round trips of the TLS handshake: how often the client waited for the server.
    pub tls_round_trips: Option<u32>,
    /// First byte of the request sent to first bytes of the response received by the kernel, milliseconds.
    pub first_byte_ms: Option<f64>,
    /// First byte of the request sent to last byte of the response received by the kernel, milliseconds.
    pub rtt_ms: Option<f64>,
    /// Actual start to response decoded, or to the error, milliseconds: `latency_ms` without `wait_ms`.
    pub service_ms: f64,
    /// Intended start to response decoded, or to the error, milliseconds.
    pub latency_ms: f64,
    /// Processing time in the server, as stated in the response, milliseconds.
    pub server_ms: Option<f64>,
    /// Part of `server_ms` spent waiting for a thread, milliseconds.
    pub server_queue_ms: Option<f64>,
    /// Part of `server_ms` spent in the database, including the commit, milliseconds.
    pub server_database_ms: Option<f64>,
    /// Smoothed RTT of the connection after the operation, by the client's kernel (`tcpi_rtt`), milliseconds.
    pub tcp_rtt_ms: Option<f64>,
    /// Minimum RTT of the connection, by the client's kernel (`tcpi_min_rtt`), milliseconds.
    pub tcp_min_rtt_ms: Option<f64>,
    /// The client's retransmission timeout after the operation (`tcpi_rto`), milliseconds.
    pub tcp_rto_ms: Option<f64>,
    /// Segments retransmitted by the client during the operation (`tcpi_total_retrans`).
    pub tcp_retransmits: Option<u32>,
    /// Number that the server gave the exchange: the key that joins the server's trace.
    pub exchange_id: Option<u64>,
    /// Smoothed RTT of the connection after the response was acknowledged, by the server's kernel, milliseconds.
    pub server_tcp_rtt_ms: Option<f64>,
    /// The server's retransmission timeout, milliseconds.
    pub server_tcp_rto_ms: Option<f64>,
    /// Segments retransmitted by the server for this exchange, including SYN-ACKs of a new connection.
    pub server_tcp_retransmits: Option<u32>,
    /// Bytes of the request frame, including its length prefix.
    pub request_bytes: Option<u64>,
    /// Bytes of the response frame, including its length prefix.
    pub response_bytes: Option<u64>,
    /// Result of the operation.
    pub outcome: Outcome,
}

impl Sample {
    /// Creates the sample of an operation that did not wait; all optional values are `None`.
    #[must_use]
    pub fn with_latency(operation: &str, outcome: Outcome, latency_ms: f64) -> Self {
        Self {
            client: String::new(),
            user: 0,
            sequence: 0,
            operation: operation.to_owned(),
            phase: Phase::Measured,
            start_us: 0,
            wait_ms: 0.0,
            connect_ms: None,
            tls_ms: None,
            tls_round_trips: None,
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

/// Phase of a cell, which contains the operations whose intended start is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, IntoStaticStr, EnumString, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", parse_err_ty = String, parse_err_fn = invalid_phase)]
pub enum Phase {
    /// Before the measurement window: recorded, but excluded from statistics.
    WarmUp,
    /// The measurement window.
    Measured,
}

fn invalid_phase(text: &str) -> String {
    format!("invalid phase '{text}': expected {}", name_list(Phase::VARIANTS))
}

/// Result of an operation.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    Display,
    IntoStaticStr,
    EnumString,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", parse_err_ty = String, parse_err_fn = invalid_outcome)]
pub enum Outcome {
    /// The shop executed the request.
    Ok,
    /// The shop refused the request: out of stock, wrong password …
    Refused,
    /// The response was not complete within the request timeout.
    Timeout,
    /// No connection: refused, unreachable, or timeout or failure of a handshake.
    ConnectFailed,
    /// The connection was closed before the response was complete.
    Reset,
    /// The response violates the protocol.
    Protocol,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: &[Outcome] = Self::VARIANTS;
}

fn invalid_outcome(text: &str) -> String {
    format!("invalid outcome '{text}': expected {}", name_list(Outcome::VARIANTS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_in_csv_and_json() {
        fn check<T: Copy + Serialize + Into<&'static str> + VariantArray>() {
            for variant in T::VARIANTS {
                assert_eq!(serde_json::to_value(variant).unwrap(), (*variant).into());
            }
        }
        check::<Phase>();
        check::<Outcome>();
        check::<SweptParameter>();
        assert_eq!(
            "lost".parse::<Outcome>().unwrap_err(),
            "invalid outcome 'lost': expected ok, refused, timeout, connect_failed, reset or protocol"
        );
    }
}
