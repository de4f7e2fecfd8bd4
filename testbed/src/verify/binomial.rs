//! Tests whether a number of losses is plausible by chance. Pure.

/// Significance level of the loss test: a number of losses whose two-sided probability is lower is a mismatch.
pub(crate) const LOSS_SIGNIFICANCE: f64 = 0.001;

/// Returns whether `lost` of `sent` packets is plausible for independent losses of probability `loss`: outside both
/// tails of the binomial distribution, which hold [`LOSS_SIGNIFICANCE`] together.
pub(crate) fn is_plausible(lost: u64, sent: u64, loss: f64) -> bool {
    if loss <= 0.0 {
        return lost == 0;
    }
    let tail = LOSS_SIGNIFICANCE / 2.0;
    let at_most = binomial_cdf(lost, sent, loss);
    let at_least = 1.0 - lost.checked_sub(1).map_or(0.0, |fewer| binomial_cdf(fewer, sent, loss));
    at_most > tail && at_least > tail
}

/// P(X ≤ k) for X ~ Binomial(n, p): the sum of its terms, each computed from its predecessor by
/// P(i + 1) / P(i) = (n − i) / (i + 1) · p / (1 − p), in logarithms because large n underflow otherwise.
fn binomial_cdf(k: u64, n: u64, p: f64) -> f64 {
    if k >= n {
        return 1.0;
    }
    let odds = (p / (1.0 - p)).ln();
    let mut log_term = n as f64 * (1.0 - p).ln();
    let mut sum = log_term.exp();
    for i in 0..k {
        log_term += ((n - i) as f64 / (i + 1) as f64).ln() + odds;
        sum += log_term.exp();
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binomial_sum_matches_known_values() {
        // Summed independently with 60 decimal digits.
        for (k, n, p, expected) in [
            (0, 10, 0.5, 0.000_976_562_5),
            (5, 10, 0.5, 0.623_046_875),
            (2, 20, 0.1, 0.676_926_8),
            (10, 1_000, 0.01, 0.583_040_2),
            (1_000, 100_000, 0.01, 0.508_409_5),
        ] {
            let got = binomial_cdf(k, n, p);
            assert!((got - expected).abs() < 1e-5, "P(X <= {k}), n {n}, p {p}: {got}");
        }
    }
}
