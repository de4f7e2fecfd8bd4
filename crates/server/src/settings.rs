//! Setting values that are parsed once: a length of time, a secret.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time above zero, as people write it: `500ms`, `30s`, `5m`, `12h`, `1d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(Duration);

/// The units of a [`HumanDuration`] with their milliseconds, largest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// The longest span: ten years. Deadlines computed from it stay far from any overflow.
const MAX_MS: u64 = 3650 * 86_400_000;

impl HumanDuration {
    /// A span of whole seconds; for constants.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// As the standard library's type.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }
}

/// A text is no [`HumanDuration`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("time '{0}': a whole number above 0 and one of ms, s, m, h, d (such as 30s), at most 3650d")]
pub struct InvalidDuration(String);

impl FromStr for HumanDuration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        let invalid = || InvalidDuration(text.to_owned());
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = text[..digits].parse().map_err(|_| invalid())?;
        let (_, unit_ms) = UNITS.iter().find(|(unit, _)| *unit == &text[digits..]).ok_or_else(invalid)?;
        match number.checked_mul(*unit_ms) {
            Some(ms @ 1..=MAX_MS) => Ok(Self(Duration::from_millis(ms))),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let (unit, unit_ms) = UNITS.iter().find(|(_, unit_ms)| ms % unit_ms == 0).unwrap_or(&UNITS[4]);
        write!(formatter, "{}{unit}", ms / unit_ms)
    }
}

/// A text that never shows itself in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being printed by accident.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written_alike() {
        for (text, ms) in [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("12h", 43_200_000), ("1d", 86_400_000)] {
            let span: HumanDuration = text.parse().unwrap();
            assert_eq!((span.duration(), span.to_string().as_str()), (Duration::from_millis(ms), text));
        }
        assert_eq!("60s".parse::<HumanDuration>().unwrap().to_string(), "1m");
    }

    #[test]
    fn what_is_no_span_is_refused() {
        for text in ["", "s", "5", "-1s", "0s", "1.5s", "5 s", "5sec", "99999999999999999999s", "3651d", "5µs"] {
            assert!(text.parse::<HumanDuration>().is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
    }
}
