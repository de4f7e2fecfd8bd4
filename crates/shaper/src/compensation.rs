//! What the shaper's own way costs a packet, so that it can be taken off the delay instead of coming on top of it.
//!
//! Two costs, both measured on this host: a packet that finds the packet thread asleep waits until it runs (measured
//! once, see [`crate::calibration`]), and the thread's timer fires late (measured all the time). Never taken off: what
//! a packet waits behind others, and what a busy host adds. Pure: no clock.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What is taken off, as it is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compensation {
    /// From a packet's arrival until the sleeping packet thread has it, and sending it, in nanoseconds; measured at the
    /// shaper's start. Without a value it could not be measured, and is not taken off.
    pub arrival_ns: Option<u64>,
    /// How late the packet thread's timer fires, in nanoseconds: the median of its last times.
    pub timer_ns: u64,
}

/// The most that the timer is set early. A host whose timer is mostly later than this would not become precise by
/// guessing how late it will be the next time.
const MAX_TIMER_LATENESS: Duration = Duration::from_micros(50);

/// The most that is taken off for the arrival: however slow the host was when it was measured, once it is fast a packet
/// must not be earlier than this.
const MAX_ARRIVAL_COST: Duration = Duration::from_micros(50);

/// By how much the fastest of the packets measured may be early for the sake of the median one.
const MAX_EARLY: Duration = Duration::from_micros(25);

/// The median lateness of a timer over its last times.
#[derive(Debug, Default)]
pub(crate) struct TimerLateness {
    latest: VecDeque<Duration>,
    median: Duration,
}

/// Odd, so that one of them is the median; few, so that a host that changes is followed within a tenth of a second.
const REMEMBERED: usize = 31;

impl TimerLateness {
    /// Takes in how late the timer was this time.
    pub(crate) fn note(&mut self, late: Duration) {
        if self.latest.len() == REMEMBERED {
            self.latest.pop_front();
        }
        self.latest.push_back(late.min(MAX_TIMER_LATENESS));
        let mut sorted: Vec<_> = self.latest.iter().copied().collect();
        sorted.sort_unstable();
        self.median = sorted[sorted.len() / 2];
    }

    /// Its median, at most [`MAX_TIMER_LATENESS`]; zero before the first time.
    pub(crate) fn median(&self) -> Duration {
        self.median
    }
}

/// What to take off for the arrival when packets took `extra` longer than they were to: what half of them took, but
/// no more than makes the fastest of them [`MAX_EARLY`] early, and at most [`MAX_ARRIVAL_COST`].
pub(crate) fn arrival_cost(mut extra: Vec<Duration>) -> Option<Duration> {
    extra.sort_unstable();
    let fastest = *extra.first()?;
    Some(extra[extra.len() / 2].min(fastest + MAX_EARLY).min(MAX_ARRIVAL_COST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(values: &[u64]) -> Vec<Duration> {
        values.iter().copied().map(Duration::from_micros).collect()
    }

    #[test]
    fn the_timers_lateness_is_the_median_of_its_last_times() {
        let mut lateness = TimerLateness::default();
        assert_eq!(lateness.median(), Duration::ZERO);
        for late in micros(&[10, 12, 11, 9_000, 13]) {
            lateness.note(late);
        }
        assert_eq!(lateness.median(), Duration::from_micros(12));
        (0..REMEMBERED).for_each(|_| lateness.note(Duration::from_micros(3)));
        assert_eq!(lateness.median(), Duration::from_micros(3), "old times are forgotten");
    }

    #[test]
    fn a_timer_that_is_always_very_late_is_set_only_a_little_early() {
        let mut lateness = TimerLateness::default();
        (0..100).for_each(|_| lateness.note(Duration::from_millis(9)));
        assert_eq!(lateness.median(), MAX_TIMER_LATENESS);
    }

    #[test]
    fn the_arrival_costs_what_half_of_the_packets_took_unless_some_were_much_faster() {
        for (extra, expected) in
            [(&[][..], None), (&[20, 22, 400][..], Some(22)), (&[5, 300, 301][..], Some(30)), (&[0, 0, 0][..], Some(0))]
        {
            assert_eq!(arrival_cost(micros(extra)), expected.map(Duration::from_micros), "{extra:?}");
        }
    }
}
