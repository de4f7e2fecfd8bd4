//! Fraction of packets that a link loses.

use std::fmt;
use std::str::FromStr;

use super::decimal;

/// Fraction of packets lost, each independently of the others: 0 to 100 %, in steps of 10⁻⁷ %.
///
/// Its text is a percentage, "1%" or, as in tcset, "1".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Loss {
    parts_per_billion: u32,
}

/// Invalid text for a loss.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid loss '{input}': expected a percentage from 0 to 100 with at most 7 decimals (e.g. 1% or 0.5%)")]
pub struct LossError {
    input: String,
}

const PERCENT_PLACES: usize = 7;
const ALL: u32 = 1_000_000_000;

impl Loss {
    /// No loss.
    pub const NONE: Self = Self { parts_per_billion: 0 };

    /// Returns the fraction, 0 to 1.
    pub fn fraction(self) -> f64 {
        f64::from(self.parts_per_billion) / f64::from(ALL)
    }

    /// Returns whether a packet is lost, given a `draw` that is uniform over all `u32` values; exact to 2⁻³².
    pub fn takes(self, draw: u32) -> bool {
        u64::from(draw) * u64::from(ALL) < u64::from(self.parts_per_billion) << 32
    }
}

impl FromStr for Loss {
    type Err = LossError;

    fn from_str(text: &str) -> Result<Self, LossError> {
        let (number, unit) = decimal::split_unit(text);
        let parts = decimal::parse(number, PERCENT_PLACES).and_then(|parts| u32::try_from(parts).ok());
        match (parts, unit) {
            (Some(parts_per_billion @ 0..=ALL), "" | "%") => Ok(Self { parts_per_billion }),
            _ => Err(LossError { input: text.to_owned() }),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal::write(out, u64::from(self.parts_per_billion), PERCENT_PLACES)?;
        out.write_str("%")
    }
}

decimal::serde_as_text!(Loss);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_parsed() {
        for (text, fraction, shown) in [
            ("1%", 0.01, "1%"),
            ("1", 0.01, "1%"),
            ("0.5%", 0.005, "0.5%"),
            ("7 %", 0.07, "7%"),
            ("0", 0.0, "0%"),
            ("100%", 1.0, "100%"),
            ("0.0000001%", 1e-9, "0.0000001%"),
        ] {
            let loss: Loss = text.parse().unwrap();
            assert_eq!((loss.fraction(), loss.to_string().as_str()), (fraction, shown), "{text}");
        }
    }

    #[test]
    fn an_invalid_percentage_is_rejected_and_quoted() {
        for text in ["", "%", "-1%", "100.1%", "101", "1%%", "nan", "1e1", "0.00000001%", "one"] {
            let error = text.parse::<Loss>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid loss '{text}': expected a percentage")), "{error}");
        }
    }

    #[test]
    fn no_loss_drops_no_packet_and_full_loss_drops_all() {
        let all: Loss = "100%".parse().unwrap();
        for draw in [0, 1, u32::MAX] {
            assert!(!Loss::NONE.takes(draw) && all.takes(draw), "{draw}");
        }
    }

    proptest::proptest! {
        #[test]
        fn text_round_trips(parts_per_billion in 0..=ALL) {
            let loss = Loss { parts_per_billion };
            proptest::prop_assert_eq!(loss.to_string().parse(), Ok(loss));
        }
    }
}
