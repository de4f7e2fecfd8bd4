//! Scheduling of the forwarder.
//!
//! Measured on two cores during four busy loops, delay 50 ms: with normal scheduling packets leave up to 10 ms late,
//! niceness has no effect, and with real-time scheduling they leave at most 0.7 ms late.

use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// Scheduling of the forwarder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThreadScheduling {
    /// Runs before normal threads (SCHED_FIFO, lowest real-time priority).
    Realtime,
    /// Shares the cores with other threads (SCHED_OTHER): packets leave late on an overloaded host.
    Normal,
}

/// Requests real-time scheduling of the calling thread. Without CAP_SYS_NICE, its scheduling does not change.
pub(crate) fn request_realtime() -> ThreadScheduling {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: 0 is the calling thread, and the kernel only reads the parameter, which outlives the call.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const lowest) } {
        0 => ThreadScheduling::Realtime,
        _ => ThreadScheduling::Normal,
    }
}

/// Returns whether the calling thread may run on a single CPU only.
pub(crate) fn has_one_cpu() -> bool {
    let Ok(allowed) = sched_getaffinity(Pid::from_raw(0)) else { return false };
    (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu) == Ok(true)).count() == 1
}

/// CPU time that a real-time thread leaves to other threads if it has only one CPU. Otherwise no other thread runs
/// there while packets arrive faster than it forwards them: `shaper show` took 0.3 to 1.5 s, in the 5 % of CPU time
/// that Linux reserves for normal threads. Pure: no clock.
#[derive(Debug, Default)]
pub(crate) struct CpuYield {
    /// Start of the current period, and the time slept in it.
    since: Duration,
    slept: Duration,
}

/// Period, and sleep in it: other threads get a tenth of the CPU time, and packets are delayed by at most 0.5 ms.
const YIELD_PERIOD: Duration = Duration::from_millis(5);
const YIELD_TIME: Duration = Duration::from_micros(500);

/// Minimum length of a wait that counts as sleep: a shorter one may not have been one.
const MIN_SLEEP: Duration = Duration::from_micros(50);

impl CpuYield {
    /// Records the length of a wait.
    pub(crate) fn record_wait(&mut self, waited: Duration) {
        if waited >= MIN_SLEEP {
            self.slept += waited;
        }
    }

    /// Returns how long the thread must sleep at `now`: zero within a period, or if it slept enough in it.
    pub(crate) fn due(&mut self, now: Duration) -> Duration {
        if now.saturating_sub(self.since) < YIELD_PERIOD {
            return Duration::ZERO;
        }
        let slept = std::mem::take(&mut self.slept);
        let due = YIELD_TIME.saturating_sub(slept);
        // The next period starts after this sleep.
        self.since = now + due;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    #[test]
    fn a_thread_that_never_sleeps_must_yield_a_tenth_of_its_time() {
        let mut cpu_yield = CpuYield::default();
        let (mut now, mut yielded) = (Duration::ZERO, Duration::ZERO);
        while now < Duration::from_secs(1) {
            // Too short for a sleep.
            cpu_yield.record_wait(US);
            now += 100 * US;
            let due = cpu_yield.due(now);
            now += due;
            yielded += due;
        }
        assert!((0.08..0.1).contains(&yielded.as_secs_f64()), "{yielded:?} of a second");
    }

    #[test]
    fn a_thread_that_sleeps_must_yield_at_most_the_difference() {
        let mut cpu_yield = CpuYield::default();
        cpu_yield.record_wait(400 * US);
        cpu_yield.record_wait(200 * US);
        assert_eq!([cpu_yield.due(YIELD_PERIOD - US), cpu_yield.due(YIELD_PERIOD)], [Duration::ZERO; 2]);
        cpu_yield.record_wait(300 * US);
        assert_eq!(cpu_yield.due(2 * YIELD_PERIOD), 200 * US);
        assert_eq!(cpu_yield.due(3 * YIELD_PERIOD + 199 * US), Duration::ZERO, "the sleep is not part of the period");
        assert_eq!(cpu_yield.due(3 * YIELD_PERIOD + 200 * US), YIELD_TIME);
    }
}
