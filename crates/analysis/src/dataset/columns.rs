//! Columns of numbers, one row per successful operation.

use crate::metric::Metric;
use crate::numbers::Numbers;
use crate::timings::Timings;

/// Times and counters of operations.
#[derive(Debug, Clone, Default)]
pub(crate) struct Columns {
    operation: Vec<u16>,
    latency_ms: Numbers,
    service_ms: Numbers,
    wait_ms: Numbers,
    connect_ms: Numbers,
    tls_ms: Numbers,
    rtt_ms: Numbers,
    server_ms: Numbers,
    server_queue_ms: Numbers,
    server_database_ms: Numbers,
    tcp_rtt_ms: Numbers,
    tcp_min_rtt_ms: Numbers,
    server_tcp_rtt_ms: Numbers,
    response_bytes: Numbers,
    tls_round_trips: Vec<u16>,
    tcp_retransmits: Vec<u16>,
    server_tcp_retransmits: Vec<u16>,
}

const MISSING_COUNT: u16 = u16::MAX;

impl Columns {
    pub(crate) fn len(&self) -> usize {
        self.operation.len()
    }

    /// Adds a row. `operation` is the operation's position in the dataset.
    pub(crate) fn push(&mut self, operation: u16, timings: &Timings) {
        self.operation.push(operation);
        self.latency_ms.push(timings.latency_ms);
        self.service_ms.push(timings.service_ms);
        self.wait_ms.push(timings.wait_ms);
        self.connect_ms.push(number(timings.connect_ms));
        self.tls_ms.push(number(timings.tls_ms));
        self.rtt_ms.push(number(timings.rtt_ms));
        self.server_ms.push(number(timings.server_ms));
        self.server_queue_ms.push(number(timings.server_queue_ms));
        self.server_database_ms.push(number(timings.server_database_ms));
        self.tcp_rtt_ms.push(number(timings.tcp_rtt_ms));
        self.tcp_min_rtt_ms.push(number(timings.tcp_min_rtt_ms));
        self.server_tcp_rtt_ms.push(number(timings.server_tcp_rtt_ms));
        self.response_bytes.push(number(timings.response_bytes.map(|bytes| bytes as f64)));
        self.tls_round_trips.push(count(timings.tls_round_trips));
        self.tcp_retransmits.push(count(timings.tcp_retransmits));
        self.server_tcp_retransmits.push(count(timings.server_tcp_retransmits));
    }

    /// Returns the position of a row's operation in the dataset.
    pub(crate) fn operation(&self, row: usize) -> u16 {
        self.operation[row]
    }

    /// Returns the numbers of a row.
    pub(crate) fn timings(&self, row: usize) -> Timings {
        let optional = |numbers: &Numbers| Some(numbers.get(row)).filter(|number| !number.is_nan());
        let count = |counts: &[u16]| Some(counts[row]).filter(|count| *count != MISSING_COUNT).map(u32::from);
        Timings {
            latency_ms: self.latency_ms.get(row),
            service_ms: self.service_ms.get(row),
            wait_ms: self.wait_ms.get(row),
            connect_ms: optional(&self.connect_ms),
            tls_ms: optional(&self.tls_ms),
            tls_round_trips: count(&self.tls_round_trips),
            rtt_ms: optional(&self.rtt_ms),
            server_ms: optional(&self.server_ms),
            server_queue_ms: optional(&self.server_queue_ms),
            server_database_ms: optional(&self.server_database_ms),
            tcp_rtt_ms: optional(&self.tcp_rtt_ms),
            tcp_min_rtt_ms: optional(&self.tcp_min_rtt_ms),
            server_tcp_rtt_ms: optional(&self.server_tcp_rtt_ms),
            tcp_retransmits: count(&self.tcp_retransmits),
            server_tcp_retransmits: count(&self.server_tcp_retransmits),
            response_bytes: optional(&self.response_bytes).map(|bytes| bytes as u64),
        }
    }

    /// Returns the durations of a metric, milliseconds.
    pub(crate) fn durations(&self, metric: Metric) -> &Numbers {
        match metric {
            Metric::Latency => &self.latency_ms,
            Metric::Rtt => &self.rtt_ms,
            Metric::Service => &self.service_ms,
            Metric::Server => &self.server_ms,
            Metric::Connect => &self.connect_ms,
            Metric::Tls => &self.tls_ms,
        }
    }
}

fn number(number: Option<f64>) -> f64 {
    number.unwrap_or(f64::NAN)
}

/// Returns the count in two bytes. 65,534 also stands for more: rules compare counts with the few timeouts of a
/// handshake.
fn count(count: Option<u32>) -> u16 {
    count.map_or(MISSING_COUNT, |count| u16::try_from(count).unwrap_or(MISSING_COUNT).min(MISSING_COUNT - 1))
}
