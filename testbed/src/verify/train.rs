//! Small echo requests at even intervals.

use model::Delay;

/// Maximum duration of a train, on a low-rate link. What it cannot measure in this time is a mismatch.
pub(super) const MAX_PROBE_US: u64 = 60_000_000;

/// Small echo requests at even intervals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Train {
    /// Number of requests.
    pub(crate) echoes: u32,
    /// Interval between two requests, microseconds.
    pub(crate) interval_us: u64,
}

/// Returns a delay in milliseconds.
pub(super) fn milliseconds(delay: Delay) -> f64 {
    delay.as_duration().as_secs_f64() * 1_000.0
}
