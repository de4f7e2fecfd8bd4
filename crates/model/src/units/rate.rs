//! Rate limit of a link.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use super::decimal;

/// Rate limit in bits per second, counted from the IP header on; units are powers of ten.
///
/// "bps" is not accepted because it is ambiguous: bytes per second in tc, bits per second in tcset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate {
    bits_per_second: NonZeroU64,
}

/// Invalid text or number for a rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid rate '{input}': expected a number with bit, kbit, Mbit or Gbit (per second, powers of ten, at least 1bit; e.g. 1.5Mbit)"
)]
pub struct RateError {
    input: String,
}

impl Rate {
    /// Creates a rate of `bits_per_second`.
    ///
    /// # Errors
    /// `bits_per_second` is zero.
    pub fn from_bits_per_second(bits_per_second: u64) -> Result<Self, RateError> {
        NonZeroU64::new(bits_per_second)
            .map(|bits_per_second| Self { bits_per_second })
            .ok_or_else(|| RateError { input: format!("{bits_per_second}bit") })
    }

    /// Returns the rate in bits per second.
    pub fn bits_per_second(self) -> u64 {
        self.bits_per_second.get()
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let (number, unit) = decimal::split_unit(text);
        let unit = unit.strip_suffix("/s").or_else(|| unit.strip_suffix("ps")).unwrap_or(unit);
        let places = match unit.to_ascii_lowercase().as_str() {
            "bit" => Some(0),
            "kbit" => Some(3),
            "mbit" => Some(6),
            "gbit" => Some(9),
            _ => None,
        };
        places
            .and_then(|places| decimal::parse(number, places))
            .and_then(|bits_per_second| Self::from_bits_per_second(bits_per_second).ok())
            .ok_or_else(|| RateError { input: text.to_owned() })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (places, unit) = match self.bits_per_second() {
            1_000_000_000.. => (9, "Gbit"),
            1_000_000.. => (6, "Mbit"),
            1_000.. => (3, "kbit"),
            _ => (0, "bit"),
        };
        decimal::write(out, self.bits_per_second(), places)?;
        out.write_str(unit)
    }
}

decimal::serde_as_text!(Rate);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_parsed() {
        for (text, bits_per_second, shown) in [
            ("1Mbit", 1_000_000, "1Mbit"),
            ("1000kbit", 1_000_000, "1Mbit"),
            ("500kbit", 500_000, "500kbit"),
            ("100 Kbit/s", 100_000, "100kbit"),
            ("10mbitps", 10_000_000, "10Mbit"),
            ("1Gbit", 1_000_000_000, "1Gbit"),
            ("9600bit", 9_600, "9.6kbit"),
            ("1.5Mbit", 1_500_000, "1.5Mbit"),
            ("42bit", 42, "42bit"),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.bits_per_second(), rate.to_string().as_str()), (bits_per_second, shown), "{text}");
        }
    }

    #[test]
    fn an_invalid_rate_is_rejected_and_quoted() {
        for text in ["", "0Mbit", "1", "1Mps", "42bps", "1Mbps", "1MBps", "1MB", "-1kbit", "0.5bit", "1Tbit", "kbit"] {
            let error = text.parse::<Rate>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid rate '{text}': expected a number with bit, kbit")), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn text_round_trips(bits_per_second in 1..=u64::MAX) {
            let rate = Rate::from_bits_per_second(bits_per_second).unwrap();
            proptest::prop_assert_eq!(rate.to_string().parse(), Ok(rate));
        }
    }
}
