//! The numbers of one operation that statistics are computed from.

/// Times and counters of one operation, as in its [`model::Sample`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Timings {
    pub(crate) latency_ms: f64,
    pub(crate) service_ms: f64,
    pub(crate) wait_ms: f64,
    pub(crate) connect_ms: Option<f64>,
    pub(crate) tls_ms: Option<f64>,
    pub(crate) tls_round_trips: Option<u32>,
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
