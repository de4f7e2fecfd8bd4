//! The statistics of durations, and the minimum number of samples of each.

use model::name_list;
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

/// A statistic of durations.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Display, EnumString, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "lowercase", parse_err_ty = String, parse_err_fn = invalid_statistic)]
pub enum Statistic {
    /// Median.
    P50,
    /// 95th percentile.
    P95,
    /// 99th percentile.
    P99,
    /// Arithmetic mean.
    Mean,
}

impl Statistic {
    /// All statistics.
    pub const ALL: &[Statistic] = Self::VARIANTS;

    /// Returns the name used in tables and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Returns the fraction of the values that are at most this statistic; `None` for the mean.
    #[must_use]
    pub fn quantile(self) -> Option<f64> {
        match self {
            Statistic::P50 => Some(0.50),
            Statistic::P95 => Some(0.95),
            Statistic::P99 => Some(0.99),
            Statistic::Mean => None,
        }
    }

    /// Returns the minimum number of samples. With fewer, the statistic is undersampled: it is marked in tables, not
    /// drawn, and has no confidence interval.
    ///
    /// A percentile needs ten values beyond it. The number of values beyond the true percentile varies by about its
    /// square root (binomial). Ten values determine the fraction beyond to within a third: a "p99" then lies between
    /// p98.7 and p99.3 in two of three cases. With one value beyond it, a percentile is close to the maximum.
    #[must_use]
    pub fn min_samples(self) -> usize {
        match self {
            Statistic::P50 => 20,
            Statistic::P95 => 200,
            Statistic::P99 => 1000,
            Statistic::Mean => 1,
        }
    }

    /// Returns whether `n` samples are fewer than the minimum.
    #[must_use]
    pub fn is_undersampled(self, n: usize) -> bool {
        n < self.min_samples()
    }
}

/// Returns the statistics that `n` samples leave undersampled, separated by spaces (`p95 p99`); empty without samples.
pub(crate) fn undersampled(n: usize) -> String {
    let names: Vec<&str> =
        Statistic::ALL.iter().copied().filter(|one| one.is_undersampled(n)).map(Statistic::name).collect();
    if n == 0 { String::new() } else { names.join(" ") }
}

fn invalid_statistic(text: &str) -> String {
    format!("invalid statistic '{text}': expected {}", name_list(Statistic::ALL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_needs_ten_values_beyond_it() {
        for &statistic in Statistic::ALL {
            let Some(q) = statistic.quantile() else { continue };
            let beyond = statistic.min_samples() as f64 * (1.0 - q);
            assert!((beyond - 10.0).abs() < 1e-9, "{statistic}: {beyond}");
        }
        assert_eq!([0, 5, 20, 199, 200, 1000].map(undersampled), ["", "p50 p95 p99", "p95 p99", "p95 p99", "p99", ""]);
    }

    #[test]
    fn names_round_trip() {
        for &statistic in Statistic::ALL {
            assert_eq!(statistic.to_string().parse(), Ok(statistic));
        }
        assert!("p90".parse::<Statistic>().unwrap_err().contains("'p90'"));
    }
}
