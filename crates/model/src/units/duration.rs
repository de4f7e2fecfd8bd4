//! Durations with a unit: `30s`, `500ms`, `2m`. A bare number is rejected, because its unit is unknown.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::decimal;

/// A duration in whole microseconds, at most ten years, written as a number and a unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HumanDuration {
    microseconds: u64,
}

/// Invalid text, or a duration that a setting does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDuration {
    /// Not a number with a unit, or out of range.
    #[error("invalid duration '{0}': expected a number with us, ms, s, m, h or d, at most 3650d (e.g. 30s)")]
    Text(String),
    /// The duration is 0.
    #[error("invalid duration '{0}': must be greater than 0")]
    Zero(String),
    /// The duration is below the minimum of the setting.
    #[error("invalid duration '{0}': must be at least {1}")]
    Short(String, HumanDuration),
}

/// Units in descending order, in nanoseconds.
const UNITS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Maximum number of decimals.
const PLACES: usize = 9;

/// Parses a number with its unit, exactly. Only 0 needs no unit.
pub(super) fn parse_nanoseconds(text: &str) -> Option<u64> {
    let (number, unit) = decimal::split_unit(text);
    // A number too large for 9 decimals may be a whole number.
    let number = match decimal::parse(number, PLACES) {
        Some(scaled) => u128::from(scaled),
        None => u128::from(decimal::parse(number, 0)?) * 1_000_000_000,
    };
    let unit = match unit {
        "" if number == 0 => "ns",
        "µs" => "us",
        unit => unit,
    };
    let (_, factor) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    let scaled = number * u128::from(factor);
    (scaled % 1_000_000_000 == 0).then(|| u64::try_from(scaled / 1_000_000_000).ok())?
}

/// Writes a duration in the largest unit that gives a whole number.
pub(super) fn write_nanoseconds(out: &mut fmt::Formatter<'_>, nanoseconds: u64) -> fmt::Result {
    let fits = |factor: u64| nanoseconds > 0 && nanoseconds.is_multiple_of(factor);
    match UNITS.into_iter().find(|(_, factor)| fits(*factor)) {
        Some((unit, factor)) => write!(out, "{}{unit}", nanoseconds / factor),
        None => out.write_str("0"),
    }
}

const MAX_MICROSECONDS: u64 = 3_650 * 86_400_000_000;

impl HumanDuration {
    /// Maximum duration. Deadlines computed from it do not overflow.
    pub const MAX: Self = Self { microseconds: MAX_MICROSECONDS };

    /// Returns a duration of `seconds`.
    ///
    /// # Panics
    /// `seconds` is more than ten years.
    #[must_use]
    pub const fn seconds(seconds: u32) -> Self {
        assert!(seconds <= 3_650 * 86_400, "longer than ten years");
        Self { microseconds: seconds as u64 * 1_000_000 }
    }

    /// Returns a duration of `microseconds`, limited to ten years.
    #[must_use]
    pub fn from_micros(microseconds: u64) -> Self {
        Self { microseconds: microseconds.min(MAX_MICROSECONDS) }
    }

    /// Parses a duration greater than 0.
    ///
    /// # Errors
    /// `text` is not a duration, or is 0.
    pub fn parse_positive(text: &str) -> Result<Self, InvalidDuration> {
        let duration: Self = text.parse()?;
        if duration == Self::default() { Err(InvalidDuration::Zero(text.to_owned())) } else { Ok(duration) }
    }

    /// Returns it as a [`Duration`].
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        Duration::from_micros(self.microseconds)
    }
}

impl FromStr for HumanDuration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        parse_nanoseconds(text)
            .filter(|nanoseconds| nanoseconds % 1_000 == 0)
            .map(|nanoseconds| nanoseconds / 1_000)
            .filter(|microseconds| *microseconds <= MAX_MICROSECONDS)
            .map(|microseconds| Self { microseconds })
            .ok_or_else(|| InvalidDuration::Text(text.to_owned()))
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_nanoseconds(out, self.microseconds * 1_000)
    }
}

decimal::serde_as_text!(HumanDuration);

/// A duration of at least `MIN_US` microseconds. Settings declare their bounds by this type only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "HumanDuration", into = "HumanDuration")]
pub struct MinDuration<const MIN_US: u64>(HumanDuration);

/// A duration greater than 0.
pub type PositiveDuration = MinDuration<1>;

impl<const MIN_US: u64> MinDuration<MIN_US> {
    /// Returns a duration of `seconds`.
    ///
    /// # Panics
    /// The duration is below the minimum or more than ten years; in a constant this is a compile error.
    #[must_use]
    pub const fn seconds(seconds: u32) -> Self {
        let duration = HumanDuration::seconds(seconds);
        assert!(duration.microseconds >= MIN_US, "shorter than the minimum");
        Self(duration)
    }

    /// Returns the duration as a type with a lower minimum.
    #[must_use]
    pub const fn widen<const LOWER_US: u64>(self) -> MinDuration<LOWER_US> {
        const { assert!(LOWER_US <= MIN_US, "a lower minimum") };
        MinDuration(self.0)
    }

    /// Returns it as a [`Duration`].
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        self.0.as_duration()
    }
}

impl<const MIN_US: u64> TryFrom<HumanDuration> for MinDuration<MIN_US> {
    type Error = InvalidDuration;

    fn try_from(duration: HumanDuration) -> Result<Self, InvalidDuration> {
        match (duration.microseconds, MIN_US) {
            (0, 1) => Err(InvalidDuration::Zero(duration.to_string())),
            (microseconds, min) if microseconds < min => {
                Err(InvalidDuration::Short(duration.to_string(), HumanDuration { microseconds: min }))
            }
            _ => Ok(Self(duration)),
        }
    }
}

impl<const MIN_US: u64> From<MinDuration<MIN_US>> for HumanDuration {
    fn from(duration: MinDuration<MIN_US>) -> Self {
        duration.0
    }
}

impl<const MIN_US: u64> FromStr for MinDuration<MIN_US> {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        text.parse::<HumanDuration>()?.try_into()
    }
}

impl<const MIN_US: u64> fmt::Display for MinDuration<MIN_US> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, microseconds, shown) in [
            ("30s", 30_000_000, "30s"),
            ("1.5s", 1_500_000, "1500ms"),
            ("500ms", 500_000, "500ms"),
            ("250us", 250, "250us"),
            ("0.5ms", 500, "500us"),
            (" 2 m ", 120_000_000, "2m"),
            ("90s", 90_000_000, "90s"),
            ("24h", 86_400_000_000, "1d"),
            ("1.5h", 5_400_000_000, "90m"),
            ("3650d", MAX_MICROSECONDS, "3650d"),
            ("0ms", 0, "0"),
            ("0", 0, "0"),
        ] {
            let duration: HumanDuration = text.parse().unwrap();
            assert_eq!(
                (duration.as_duration().as_micros(), duration.to_string().as_str()),
                (microseconds.into(), shown),
                "{text}"
            );
        }
        for text in ["", "30", "s", "-1s", "+1s", "1e3s", "1.2.3s", "5mss", "0.5us", "3651d", "NaNs", "infs", "1 week"]
        {
            let error = text.parse::<HumanDuration>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid duration '{text}'")), "{error}");
        }
    }

    #[test]
    fn a_positive_duration_is_not_zero() {
        assert_eq!(HumanDuration::parse_positive("2m").unwrap().to_string(), "2m");
        let error = HumanDuration::parse_positive("0s").unwrap_err().to_string();
        assert_eq!(error, "invalid duration '0s': must be greater than 0");
    }

    #[test]
    fn a_minimum_is_checked_in_text_and_files() {
        type AtLeastOneSecond = MinDuration<1_000_000>;
        assert_eq!("1s".parse::<AtLeastOneSecond>().unwrap().to_string(), "1s");
        let error = "10ms".parse::<AtLeastOneSecond>().unwrap_err().to_string();
        assert_eq!(error, "invalid duration '10ms': must be at least 1s");
        assert!(serde_json::from_str::<AtLeastOneSecond>(r#""10ms""#).unwrap_err().to_string().starts_with(&error));
        let error = "0".parse::<PositiveDuration>().unwrap_err().to_string();
        assert_eq!(error, "invalid duration '0': must be greater than 0");
    }

    #[test]
    fn json_contains_the_text() {
        let duration = HumanDuration::seconds(90);
        assert_eq!(serde_json::to_string(&duration).unwrap(), r#""90s""#);
        assert_eq!(serde_json::from_str::<HumanDuration>(r#""90s""#).unwrap(), duration);
    }

    proptest::proptest! {
        #[test]
        fn text_round_trips(microseconds in 0..=MAX_MICROSECONDS) {
            let duration = HumanDuration { microseconds };
            proptest::prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }
    }
}
