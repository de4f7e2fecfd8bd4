//! Exponential back-off after consecutive failures, with jitter, so that virtual users do not retry simultaneously.

use std::time::Duration;

use crate::workload::seed::Stream;

/// Maximum wait after the first failure.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Maximum wait.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// Back-off of one virtual user.
#[derive(Debug)]
pub(super) struct BackOff {
    jitter: Stream,
    failures: u32,
}

impl BackOff {
    pub(super) fn new(jitter: Stream) -> Self {
        Self { jitter, failures: 0 }
    }

    /// Records a success.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Records a failure.
    pub(super) fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// Returns the time to wait: none without a failure, otherwise between half and all of 100 ms, 200 ms, 400 ms …
    /// 5 s.
    pub(super) fn wait(&mut self) -> Duration {
        let Some(doublings) = self.failures.checked_sub(1) else { return Duration::ZERO };
        let full = FIRST_WAIT.saturating_mul(1 << doublings.min(16)).min(MAX_WAIT);
        full.mul_f64(0.5 + self.jitter.unit() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::seed::Purpose;

    #[test]
    fn waits_double_up_to_five_seconds_and_start_again_after_a_success() {
        let mut back_off = BackOff::new(Stream::new(1, "", 0, Purpose::BackOff));
        assert_eq!(back_off.wait(), Duration::ZERO);
        for full_ms in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            back_off.failed();
            let wait = back_off.wait();
            let full = Duration::from_millis(full_ms);
            assert!((full / 2..=full).contains(&wait), "{wait:?} of {full:?}");
        }
        back_off.reset();
        assert_eq!(back_off.wait(), Duration::ZERO);
    }
}
