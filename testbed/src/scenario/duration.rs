//! Lengths of time as people write them: `30s`, `500ms`, `2m`. A bare number is refused: its unit would be a guess.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A length of time that reads and prints with its unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct HumanDuration(Duration);

impl HumanDuration {
    /// The standard library's form.
    pub(crate) const fn as_duration(self) -> Duration {
        self.0
    }
}

/// A text that is no length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no length of time: a number and one of ms, s, m, h (30s, 1.5s, 500ms)")]
pub(crate) struct InvalidDuration(String);

/// The units, the longest first, in milliseconds.
const UNITS: [(&str, f64); 4] = [("h", 3_600_000.0), ("m", 60_000.0), ("s", 1_000.0), ("ms", 1.0)];

/// Longest span that is accepted, milliseconds: thirty days.
const MAX_MS: f64 = 30.0 * 24.0 * 3_600_000.0;

impl FromStr for HumanDuration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || InvalidDuration(text.to_owned());
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(error)?;
        let number: f64 = text[..digits].parse().map_err(|_| error())?;
        let (_, factor) = UNITS.into_iter().find(|(unit, _)| *unit == text[digits..].trim()).ok_or_else(error)?;
        let milliseconds = number * factor;
        if milliseconds > MAX_MS {
            return Err(error());
        }
        Ok(Self(Duration::from_micros((milliseconds * 1_000.0).round() as u64)))
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_secs_f64() * 1_000.0;
        for (unit, factor) in UNITS {
            let number = milliseconds / factor;
            if number >= 1.0 && (number.fract() == 0.0 || unit == "ms") {
                return write!(f, "{number}{unit}");
            }
        }
        write!(f, "{milliseconds}ms")
    }
}

impl TryFrom<String> for HumanDuration {
    type Error = InvalidDuration;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<HumanDuration> for String {
    fn from(span: HumanDuration) -> Self {
        span.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_and_print_with_their_unit() {
        for (text, milliseconds, printed) in [
            ("30s", 30_000, "30s"),
            ("1.5s", 1_500, "1500ms"),
            ("500ms", 500, "500ms"),
            ("0s", 0, "0ms"),
            ("90s", 90_000, "90s"),
            ("2m", 120_000, "2m"),
            ("1h", 3_600_000, "1h"),
        ] {
            let span: HumanDuration = text.parse().unwrap();
            assert_eq!(span.as_duration(), Duration::from_millis(milliseconds), "{text}");
            assert_eq!(span.to_string(), printed);
            assert_eq!(span.to_string().parse(), Ok(span));
        }
    }

    #[test]
    fn what_is_no_span_is_quoted_with_the_accepted_form() {
        for text in ["30", "", "s", "-1s", "1 day", "1e9s", "NaNs", "1.2.3s", "99999999999h"] {
            let error = text.parse::<HumanDuration>().unwrap_err().to_string();
            assert!(error.contains(&format!("'{text}'")) && error.contains("30s"), "{error}");
        }
    }
}
