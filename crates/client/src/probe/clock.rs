//! Timestamps on two clocks. The kernel timestamps received packets with the real-time clock, which may be set during
//! a probe; the monotonic clock bounds the plausible values.

use std::time::{Duration, Instant, SystemTime};

/// One time on both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp {
    monotonic: Instant,
    real: SystemTime,
}

/// Time at which a packet arrived.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// Time at which the kernel received it; `None` without a timestamp.
    pub(super) kernel: Option<SystemTime>,
    /// Time at which this program received it: later.
    pub(super) program: Instant,
}

impl Stamp {
    pub(super) fn now() -> Self {
        Self { monotonic: Instant::now(), real: SystemTime::now() }
    }

    pub(super) fn monotonic_since(self, earlier: Stamp) -> Duration {
        self.monotonic.saturating_duration_since(earlier.monotonic)
    }
}

impl Arrival {
    /// Returns the time since `sent`: by the kernel's timestamp if that lies between sending and receiving, otherwise
    /// by this program's clock.
    pub(super) fn since(self, sent: Stamp) -> Duration {
        let by_program = self.program.saturating_duration_since(sent.monotonic);
        self.kernel
            .and_then(|kernel| kernel.duration_since(sent.real).ok())
            .filter(|by_kernel| !by_kernel.is_zero() && *by_kernel <= by_program)
            .unwrap_or(by_program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_timestamp_counts_unless_the_clock_was_set() {
        let sent = Stamp::now();
        let ms = Duration::from_millis;
        let program = sent.monotonic + ms(50);
        for (kernel, expected) in [
            (Some(sent.real + ms(49)), ms(49)),
            (Some(sent.real + ms(51)), ms(50)),
            (Some(sent.real - ms(3600)), ms(50)),
            (None, ms(50)),
        ] {
            assert_eq!(Arrival { kernel, program }.since(sent), expected);
        }
    }
}
