//! The load: arrival rate and arrival process of an open loop; and the precision at which repetitions stop.

use std::fmt;
use std::str::FromStr;

use analysis::Statistic;
use serde::{Deserialize, Serialize};

/// Rate at which all clients together start operations, regardless of response times (open loop).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct ArrivalRate {
    number: f64,
    per: Per,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Per {
    Second,
    Minute,
    Hour,
}

impl Per {
    const ALL: [Per; 3] = [Per::Second, Per::Minute, Per::Hour];

    fn unit(self) -> &'static str {
        match self {
            Per::Second => "/s",
            Per::Minute => "/m",
            Per::Hour => "/h",
        }
    }

    fn seconds(self) -> f64 {
        match self {
            Per::Second => 1.0,
            Per::Minute => 60.0,
            Per::Hour => 3_600.0,
        }
    }
}

impl ArrivalRate {
    /// Returns operations per second.
    pub(crate) fn per_second(self) -> f64 {
        self.number / self.per.seconds()
    }

    /// Returns the rate of one of `clients` clients.
    pub(crate) fn share(self, clients: u32) -> Self {
        Self { number: self.number / f64::from(clients.max(1)), ..self }
    }

    /// Checks that each of `clients` clients accepts its share of the rate. The client defines the limit.
    ///
    /// # Errors
    /// The client's error.
    pub(super) fn check(self, clients: u32) -> anyhow::Result<()> {
        let of_each: Result<client::workload::ArrivalRate, String> = self.share(clients).to_string().parse();
        of_each.map(drop).map_err(|error| {
            anyhow::anyhow!(
                "invalid arrival_rate '{self}' for {clients} clients: each client: {error}; change the rate or clients"
            )
        })
    }
}

impl FromStr for ArrivalRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error =
            || format!("invalid arrival rate '{text}': expected a number above 0 with /s, /m or /h (e.g. 200/s)");
        let split = text.find('/').ok_or_else(error)?;
        let (number, unit) = text.split_at(split);
        let per = Per::ALL.into_iter().find(|per| per.unit() == unit).ok_or_else(error)?;
        let number: f64 = number.trim().parse().map_err(|_| error())?;
        if !(number > 0.0 && number.is_finite()) {
            return Err(error());
        }
        Ok(Self { number, per })
    }
}

impl fmt::Display for ArrivalRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.number, self.per.unit())
    }
}

impl TryFrom<String> for ArrivalRate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ArrivalRate> for String {
    fn from(rate: ArrivalRate) -> Self {
        rate.to_string()
    }
}

/// Arrival process of an open loop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Arrivals {
    /// At constant intervals.
    Constant,
    /// Independent of each other, as the arrivals of many users are.
    #[default]
    Poisson,
}

impl Arrivals {
    /// Returns the name in files and options.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Arrivals::Constant => "constant",
            Arrivals::Poisson => "poisson",
        }
    }
}

/// Precision at which the repetitions of a condition stop: maximum half-width of the 95 % confidence interval of a
/// latency statistic, relative to the estimate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct UntilPrecise {
    /// Half-width, percent of the estimate.
    percent: f64,
    /// Statistic of the latency.
    pub(crate) statistic: Statistic,
}

impl UntilPrecise {
    /// Returns the maximum half-width as a fraction of the estimate.
    pub(crate) fn max_relative_half_width(self) -> f64 {
        self.percent / 100.0
    }
}

impl FromStr for UntilPrecise {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || {
            format!(
                "invalid precision '{text}': expected ci=PERCENT%, optionally with @p95, @p99 or @mean (e.g. ci=5%)"
            )
        };
        let (percent, statistic) = match text.split_once('@') {
            Some((percent, statistic)) => (percent, statistic.parse().map_err(|_| error())?),
            None => (text, Statistic::P50),
        };
        let percent = percent.strip_prefix("ci=").and_then(|rest| rest.strip_suffix('%')).ok_or_else(error)?;
        let percent: f64 = percent.parse().map_err(|_| error())?;
        if !(percent > 0.0 && percent <= 100.0) {
            return Err(error());
        }
        Ok(Self { percent, statistic })
    }
}

impl fmt::Display for UntilPrecise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ci={}%@{}", self.percent, self.statistic)
    }
}

impl TryFrom<String> for UntilPrecise {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<UntilPrecise> for String {
    fn from(until: UntilPrecise) -> Self {
        until.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrival_rate_keeps_its_unit_and_an_invalid_one_is_refused() {
        for (text, per_second) in [("200/s", 200.0), ("90/m", 1.5), ("1800/h", 0.5), ("0.5/s", 0.5)] {
            let rate: ArrivalRate = text.parse().unwrap();
            assert_eq!((rate.to_string().as_str(), rate.per_second()), (text, per_second));
        }
        assert_eq!("200/s".parse::<ArrivalRate>().unwrap().share(8).to_string(), "25/s");
        for text in ["200", "/s", "0/s", "-1/s", "5/d", "inf/s", "NaN/s"] {
            assert!(text.parse::<ArrivalRate>().unwrap_err().contains(text), "{text}");
        }
    }

    #[test]
    fn a_precision_is_parsed_as_a_percentage_of_a_statistic() {
        for (text, half_width, printed) in
            [("ci=5%", 0.05, "ci=5%@p50"), ("ci=10%@p95", 0.1, "ci=10%@p95"), ("ci=2.5%@mean", 0.025, "ci=2.5%@mean")]
        {
            let until: UntilPrecise = text.parse().unwrap();
            assert_eq!((until.max_relative_half_width(), until.to_string().as_str()), (half_width, printed));
            assert_eq!(until.to_string().parse(), Ok(until));
        }
        for text in ["5%", "ci=5", "ci=0%", "ci=-1%", "ci=5%@p42", "ci=5%@error_rate", "ci=200%"] {
            assert!(text.parse::<UntilPrecise>().unwrap_err().contains("expected ci=PERCENT%"), "{text}");
        }
    }
}
