//! Exact conversion between decimal text and scaled integers.
//!
//! The readback of a condition must equal the request. Binary fractions cannot guarantee that ("0.07" times 100 is not 7),
//! so no floating point is used.

use std::fmt;

/// Parses `text` (digits with at most one point) as an integer count of `10^-places`.
///
/// Returns `None` if the text is not such a number, has more than `places` decimals, or overflows.
pub(super) fn parse(text: &str, places: usize) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let only_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || text.ends_with('.') || !only_digits(whole) || !only_digits(fraction) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let missing = u32::try_from(places.checked_sub(fraction.len())?).ok()?;
    let digits: u64 = format!("{whole}{fraction}").parse().ok()?;
    digits.checked_mul(10u64.checked_pow(missing)?)
}

/// Writes `value`, a count of `10^-places`, without trailing zeros.
pub(super) fn write(out: &mut fmt::Formatter<'_>, value: u64, places: usize) -> fmt::Result {
    let digits = format!("{value:0>width$}", width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    match fraction.trim_end_matches('0') {
        "" => out.write_str(whole),
        fraction => write!(out, "{whole}.{fraction}"),
    }
}

/// Splits "1.5Mbit" into "1.5" and "Mbit"; removes spaces around both.
pub(super) fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

/// Serialises a type as its text, the form in which users write it.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(super) use serde_as_text;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_scaled_exactly() {
        let rows = [("1", 3, Some(1000)), ("0.07", 9, Some(70_000_000)), ("007", 0, Some(7)), ("1.500", 1, Some(15))];
        for (text, places, expected) in rows {
            assert_eq!(parse(text, places), expected, "{text}");
        }
    }

    #[test]
    fn anything_else_is_rejected() {
        for text in ["", ".", "1.", ".5", "-1", "+1", "1e3", "1.2.3", "0.001", "99999999999999999999", "١"] {
            assert_eq!(parse(text, 2), None, "{text}");
        }
    }
}
