//! Time that a link adds to packets; type of delay and jitter.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{decimal, duration};

/// Time added to a packet, in whole nanoseconds, at most one hour.
///
/// Its text is a number and a unit ("50ms"). A bare number other than 0 is rejected, because its unit is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Delay {
    nanoseconds: u64,
}

/// Invalid text or duration for a delay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid delay '{input}': expected a number with ns, us, ms, s or m, at most 1h (e.g. 50ms)")]
pub struct DelayError {
    input: String,
}

const MAX_NANOSECONDS: u64 = 3_600 * 1_000_000_000;

impl Delay {
    /// No delay.
    pub const ZERO: Self = Self { nanoseconds: 0 };

    /// Returns the delay as a duration.
    pub fn as_duration(self) -> Duration {
        Duration::from_nanos(self.nanoseconds)
    }

    fn from_nanoseconds(nanoseconds: u64) -> Option<Self> {
        (nanoseconds <= MAX_NANOSECONDS).then_some(Self { nanoseconds })
    }
}

impl TryFrom<Duration> for Delay {
    type Error = DelayError;

    fn try_from(duration: Duration) -> Result<Self, DelayError> {
        let nanoseconds = u64::try_from(duration.as_nanos()).ok();
        nanoseconds.and_then(Self::from_nanoseconds).ok_or_else(|| DelayError { input: format!("{duration:?}") })
    }
}

impl FromStr for Delay {
    type Err = DelayError;

    fn from_str(text: &str) -> Result<Self, DelayError> {
        let nanoseconds = duration::parse_nanoseconds(text).and_then(Self::from_nanoseconds);
        nanoseconds.ok_or_else(|| DelayError { input: text.to_owned() })
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        duration::write_nanoseconds(out, self.nanoseconds)
    }
}

decimal::serde_as_text!(Delay);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_parsed() {
        for (text, nanoseconds, shown) in [
            ("50ms", 50_000_000, "50ms"),
            ("100us", 100_000, "100us"),
            ("100µs", 100_000, "100us"),
            ("1s", 1_000_000_000, "1s"),
            ("1.5s", 1_500_000_000, "1500ms"),
            ("1.0005ms", 1_000_500, "1000500ns"),
            ("0.0001ms", 100, "100ns"),
            ("0", 0, "0"),
            ("60m", MAX_NANOSECONDS, "1h"),
        ] {
            let delay: Delay = text.parse().unwrap();
            let parsed = (delay.as_duration(), delay.to_string());
            assert_eq!(parsed, (Duration::from_nanos(nanoseconds), shown.to_owned()), "{text}");
        }
    }

    #[test]
    fn an_invalid_delay_is_rejected_and_quoted() {
        for text in ["", "50", "ms", "-1ms", "61m", "2h", "1MS", "0.1ns", "3600.1s", "1e3", "fast"] {
            let error = text.parse::<Delay>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid delay '{text}': expected a number with")), "{error}");
        }
    }

    #[test]
    fn a_duration_above_an_hour_is_rejected() {
        assert!(Delay::try_from(Duration::from_secs(3_601)).is_err());
        assert_eq!(Delay::try_from(Duration::from_millis(50)), "50ms".parse());
    }

    proptest::proptest! {
        #[test]
        fn text_round_trips(nanoseconds in 0..=MAX_NANOSECONDS) {
            let delay = Delay { nanoseconds };
            proptest::prop_assert_eq!(delay.to_string().parse(), Ok(delay));
        }
    }
}
