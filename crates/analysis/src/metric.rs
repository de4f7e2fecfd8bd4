//! The durations of an operation that statistics are computed from.

/// A duration of a successful operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Metric {
    /// Intended start to decoded response.
    Latency,
    /// First byte sent to last byte read.
    Rtt,
    /// Actual start to decoded response: the latency without the wait for a free user (open loop).
    Service,
    /// Handling time in the server.
    Server,
    /// TCP handshake, if the operation opened a connection.
    Connect,
}

impl Metric {
    /// All metrics.
    pub(crate) const ALL: [Metric; 5] =
        [Metric::Latency, Metric::Rtt, Metric::Service, Metric::Server, Metric::Connect];

    /// Metrics with confidence intervals, the first of [`Metric::ALL`].
    pub(crate) const ESTIMATED: [Metric; 3] = [Metric::Latency, Metric::Rtt, Metric::Service];

    /// Returns the name used in tables.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Metric::Latency => "latency",
            Metric::Rtt => "rtt",
            Metric::Service => "service",
            Metric::Server => "server",
            Metric::Connect => "connect",
        }
    }
}
