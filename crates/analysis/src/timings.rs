//! The numbers of one operation that statistics are computed from.

use model::Sample;

/// Times and counters of one operation, as in its [`Sample`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Timings {
    pub(crate) latency_ms: f64,
    pub(crate) service_ms: f64,
    pub(crate) wait_ms: f64,
    pub(crate) connect_ms: Option<f64>,
    pub(crate) rtt_ms: Option<f64>,
    pub(crate) server_ms: Option<f64>,
    pub(crate) server_queue_ms: Option<f64>,
    pub(crate) server_database_ms: Option<f64>,
    pub(crate) tcp_rtt_ms: Option<f64>,
    pub(crate) tcp_min_rtt_ms: Option<f64>,
    pub(crate) server_tcp_rtt_ms: Option<f64>,
    pub(crate) tcp_retransmits: Option<u32>,
    pub(crate) server_tcp_retransmits: Option<u32>,
    pub(crate) response_bytes: Option<u64>,
}

impl From<&Sample> for Timings {
    fn from(sample: &Sample) -> Self {
        Timings {
            latency_ms: sample.latency_ms,
            service_ms: sample.service_ms,
            wait_ms: sample.wait_ms,
            connect_ms: sample.connect_ms,
            rtt_ms: sample.rtt_ms,
            server_ms: sample.server_ms,
            server_queue_ms: sample.server_queue_ms,
            server_database_ms: sample.server_database_ms,
            tcp_rtt_ms: sample.tcp_rtt_ms,
            tcp_min_rtt_ms: sample.tcp_min_rtt_ms,
            server_tcp_rtt_ms: sample.server_tcp_rtt_ms,
            tcp_retransmits: sample.tcp_retransmits,
            server_tcp_retransmits: sample.server_tcp_retransmits,
            response_bytes: sample.response_bytes,
        }
    }
}
