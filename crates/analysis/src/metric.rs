//! The durations of an operation that statistics are computed from.

use strum::{IntoStaticStr, VariantArray};

/// A duration of a successful operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
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
    /// TLS handshake, if the operation opened an encrypted connection.
    Tls,
}

impl Metric {
    /// All metrics.
    pub(crate) const ALL: &[Metric] = Self::VARIANTS;

    /// Returns the name used in tables.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        self.into()
    }

    /// Metrics with confidence intervals, the first of [`Metric::ALL`].
    pub(crate) const ESTIMATED: [Metric; 3] = [Metric::Latency, Metric::Rtt, Metric::Service];
}
