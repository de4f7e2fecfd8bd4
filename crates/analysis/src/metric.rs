//! The durations of an operation that statistics are computed from.

use std::fmt;

use crate::measures::Measures;
use crate::percentile::Sorted;

/// A duration that every successful operation has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Metric {
    /// Intended start to decoded response.
    Latency,
    /// First byte sent to last byte read.
    Rtt,
    /// Actual start to decoded response: the latency without the wait for a free user (open loop).
    Service,
}

impl Metric {
    /// All metrics.
    pub(crate) const ALL: [Metric; 3] = [Metric::Latency, Metric::Rtt, Metric::Service];

    /// Returns the name used in tables.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Metric::Latency => "latency",
            Metric::Rtt => "rtt",
            Metric::Service => "service",
        }
    }

    /// Returns the values of this metric, milliseconds.
    #[must_use]
    pub(crate) fn of(self, measures: &Measures) -> &Sorted {
        match self {
            Metric::Latency => &measures.latency_ms,
            Metric::Rtt => &measures.rtt_ms,
            Metric::Service => &measures.service_ms,
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
