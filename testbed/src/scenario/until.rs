//! `--until ci=5%`: precision at which the repetitions of a condition stop.

use std::fmt;
use std::str::FromStr;

use analysis::Statistic;
use serde::{Deserialize, Serialize};

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
