//! Rate at which operations of an open loop start.

use std::fmt;
use std::str::FromStr;

use super::decimal;

/// Number of operations per second, minute or hour, above 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ArrivalRate {
    number: f64,
    per: Per,
}

/// Invalid text for an arrival rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid arrival rate '{0}': expected a number above 0 with /s, /m or /h (e.g. 200/s)")]
pub struct ArrivalRateError(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Per {
    Second,
    Minute,
    Hour,
}

impl Per {
    const ALL: [(&str, Per); 3] = [("/s", Per::Second), ("/m", Per::Minute), ("/h", Per::Hour)];

    fn seconds(self) -> f64 {
        match self {
            Per::Second => 1.0,
            Per::Minute => 60.0,
            Per::Hour => 3_600.0,
        }
    }
}

impl ArrivalRate {
    /// Returns the rate in operations per second.
    #[must_use]
    pub fn per_second(self) -> f64 {
        self.number / self.per.seconds()
    }

    /// Returns the mean time between two arrivals, nanoseconds.
    #[must_use]
    pub fn gap_ns(self) -> f64 {
        1e9 * self.per.seconds() / self.number
    }

    /// Returns the rate of one of `clients` clients that together have this rate.
    #[must_use]
    pub fn per_client(self, clients: u32) -> Self {
        Self { number: self.number / f64::from(clients.max(1)), ..self }
    }
}

impl FromStr for ArrivalRate {
    type Err = ArrivalRateError;

    fn from_str(text: &str) -> Result<Self, ArrivalRateError> {
        let (number, unit) = decimal::split_unit(text);
        let per = Per::ALL.into_iter().find(|(name, _)| *name == unit).map(|(_, per)| per);
        per.zip(number.parse().ok())
            .map(|(per, number)| Self { number, per })
            .filter(|rate| rate.per_second() > 0.0 && rate.per_second().is_finite())
            .ok_or_else(|| ArrivalRateError(text.to_owned()))
    }
}

impl fmt::Display for ArrivalRate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = Per::ALL.into_iter().find(|(_, per)| *per == self.per).map_or("", |(name, _)| name);
        write!(out, "{}{unit}", self.number)
    }
}

decimal::serde_as_text!(ArrivalRate);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrival_rate_keeps_its_unit_and_an_invalid_one_is_rejected() {
        for (text, per_second) in [("200/s", 200.0), ("90/m", 1.5), ("1800/h", 0.5), ("0.5/s", 0.5)] {
            let rate: ArrivalRate = text.parse().unwrap();
            assert_eq!((rate.to_string().as_str(), rate.per_second()), (text, per_second));
        }
        assert_eq!("200/s".parse::<ArrivalRate>().unwrap().per_client(8).to_string(), "25/s");
        for text in ["", "200", "/s", "200/", "0/s", "-1/s", "+1/s", "1e3/s", "5/d", "inf/s", "NaN/s"] {
            let error = text.parse::<ArrivalRate>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid arrival rate '{text}'")), "{error}");
        }
    }

    #[test]
    fn the_rate_of_a_client_round_trips_as_text() {
        let share = "100/s".parse::<ArrivalRate>().unwrap().per_client(3);
        assert_eq!(share.to_string().parse(), Ok(share));
    }
}
