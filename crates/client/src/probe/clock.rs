//! Moments on two clocks: the kernel stamps arriving packets with the real-time clock, which may be set while we
//! measure; the monotonic clock bounds what may be believed.

use std::time::{Duration, Instant, SystemTime};

/// One moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp {
    monotonic: Instant,
    real: SystemTime,
}

/// When a packet arrived.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// When the kernel got it, if it said.
    pub(super) kernel: Option<SystemTime>,
    /// When this program got it: later.
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
    /// How long after `sent`: by the kernel's stamp if it lies between sending and getting it, else by our own clock.
    pub(super) fn since(self, sent: Stamp) -> Duration {
        let seen = self.program.saturating_duration_since(sent.monotonic);
        self.kernel
            .and_then(|kernel| kernel.duration_since(sent.real).ok())
            .filter(|stamped| !stamped.is_zero() && *stamped <= seen)
            .unwrap_or(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_stamp_counts_unless_the_clock_was_set() {
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
