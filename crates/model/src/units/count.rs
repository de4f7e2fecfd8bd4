//! Numbers with bounds.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A whole number from `MIN` to `MAX`. Settings declare their bounds by this type only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Count<const MIN: u32, const MAX: u32>(u32);

/// Text or number outside the bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid number '{text}': expected {min} to {max}")]
pub struct CountError {
    text: String,
    min: u32,
    max: u32,
}

impl<const MIN: u32, const MAX: u32> Count<MIN, MAX> {
    /// Returns `number` if it is within the bounds.
    ///
    /// # Errors
    /// `number` is outside the bounds.
    pub fn new(number: u32) -> Result<Self, CountError> {
        Self::checked(i64::from(number), || number.to_string())
    }

    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Returns the number; `None` for 0.
    #[must_use]
    pub const fn non_zero(self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.0)
    }

    /// Returns the bounds as help texts show them: `1..100`.
    #[must_use]
    pub fn range() -> String {
        format!("{MIN}..{MAX}")
    }

    fn checked(number: i64, text: impl FnOnce() -> String) -> Result<Self, CountError> {
        u32::try_from(number).ok().filter(|number| (MIN..=MAX).contains(number)).map(Self).ok_or_else(|| CountError {
            text: text(),
            min: MIN,
            max: MAX,
        })
    }
}

impl<const MIN: u32, const MAX: u32> FromStr for Count<MIN, MAX> {
    type Err = CountError;

    fn from_str(text: &str) -> Result<Self, CountError> {
        Self::checked(text.parse().unwrap_or(-1), || text.to_owned())
    }
}

impl<const MIN: u32, const MAX: u32> fmt::Display for Count<MIN, MAX> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl<const MIN: u32, const MAX: u32> Serialize for Count<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for Count<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(deserializer)?;
        Self::checked(number, || number.to_string()).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Percent = Count<1, 100>;

    #[test]
    fn numbers_outside_the_bounds_are_rejected_in_text_and_files() {
        assert_eq!("100".parse::<Percent>().map(Count::get), Ok(100));
        assert_eq!(serde_json::from_str::<Percent>("7").unwrap().to_string(), "7");
        for text in ["0", "101", "-1", "4294967297"] {
            let expected = format!("invalid number '{text}': expected 1 to 100");
            assert_eq!(text.parse::<Percent>().unwrap_err().to_string(), expected);
            let error = serde_json::from_str::<Percent>(text).unwrap_err().to_string();
            assert!(error.starts_with(&expected), "{error}");
        }
        assert!("1.5".parse::<Percent>().is_err() && serde_json::from_str::<Percent>("\"7\"").is_err());
        assert_eq!(Percent::range(), "1..100");
    }
}
