//! Compensation of the shaper's own cost: the time it adds to a packet is subtracted from the packet's delay.
//!
//! Two costs are measured on this host: a packet that wakes the forwarder waits until the thread runs (measured once,
//! see [`crate::calibration`]), and the thread's timer fires late (measured continuously). Not compensated: the time
//! that a packet waits behind others, and what an overloaded host adds. Pure: no clock.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Current compensation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compensation {
    /// Time from a packet's arrival until the sleeping forwarder has read it, plus the time to send it, in nanoseconds.
    /// Measured when the shaper starts. `None` if it could not be measured: it is not compensated.
    pub arrival_ns: Option<u64>,
    /// Lateness of the forwarder's timer, nanoseconds: the median of its last expirations.
    pub timer_ns: u64,
}

/// Maximum time that the timer is set early. If a timer is usually later than this, its lateness is not predictable
/// enough to compensate.
const MAX_TIMER_LATENESS: Duration = Duration::from_micros(50);

/// Maximum compensation for the arrival. It bounds how early a packet leaves when the host is faster than during the
/// measurement.
const MAX_ARRIVAL_COST: Duration = Duration::from_micros(50);

/// Maximum earliness of the fastest measured packet when the median packet is compensated.
const MAX_EARLINESS: Duration = Duration::from_micros(25);

/// Median lateness of a timer over its last expirations.
#[derive(Debug, Default)]
pub(crate) struct TimerLateness {
    latest: VecDeque<Duration>,
    median: Duration,
}

/// Number of expirations of the median: odd, so that one of them is the median; few, so that it adapts to the host
/// within 100 ms.
const SAMPLES: usize = 31;

impl TimerLateness {
    /// Records the lateness of one expiration.
    pub(crate) fn record(&mut self, late: Duration) {
        if self.latest.len() == SAMPLES {
            self.latest.pop_front();
        }
        self.latest.push_back(late.min(MAX_TIMER_LATENESS));
        let mut sorted: Vec<_> = self.latest.iter().copied().collect();
        sorted.sort_unstable();
        self.median = sorted[sorted.len() / 2];
    }

    /// Returns the median, at most [`MAX_TIMER_LATENESS`]; zero before the first expiration.
    pub(crate) fn median(&self) -> Duration {
        self.median
    }
}

/// Returns the compensation for the arrival from the times that packets took in addition to their delay: the median,
/// but at most [`MAX_EARLINESS`] above the minimum, and at most [`MAX_ARRIVAL_COST`]. `None` without packets.
pub(crate) fn arrival_cost(mut extra: Vec<Duration>) -> Option<Duration> {
    extra.sort_unstable();
    let fastest = *extra.first()?;
    Some(extra[extra.len() / 2].min(fastest + MAX_EARLINESS).min(MAX_ARRIVAL_COST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(values: &[u64]) -> Vec<Duration> {
        values.iter().copied().map(Duration::from_micros).collect()
    }

    #[test]
    fn timer_lateness_is_the_median_of_the_last_expirations() {
        let mut lateness = TimerLateness::default();
        assert_eq!(lateness.median(), Duration::ZERO);
        for late in micros(&[10, 12, 11, 9_000, 13]) {
            lateness.record(late);
        }
        assert_eq!(lateness.median(), Duration::from_micros(12));
        (0..SAMPLES).for_each(|_| lateness.record(Duration::from_micros(3)));
        assert_eq!(lateness.median(), Duration::from_micros(3), "old samples are dropped");
    }

    #[test]
    fn the_compensation_of_a_very_late_timer_is_bounded() {
        let mut lateness = TimerLateness::default();
        (0..100).for_each(|_| lateness.record(Duration::from_millis(9)));
        assert_eq!(lateness.median(), MAX_TIMER_LATENESS);
    }

    #[test]
    fn the_arrival_cost_is_the_median_unless_some_packets_were_much_faster() {
        for (extra, expected) in
            [(&[][..], None), (&[20, 22, 400][..], Some(22)), (&[5, 300, 301][..], Some(30)), (&[0, 0, 0][..], Some(0))]
        {
            assert_eq!(arrival_cost(micros(extra)), expected.map(Duration::from_micros), "{extra:?}");
        }
    }
}
