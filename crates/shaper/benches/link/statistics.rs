//! Statistics of the targets: quantiles and a binomial interval.

/// Returns the quantile for probability `p`, 0 to 1: Hyndman and Fan's type 7, as in all of the testbed.
pub(crate) fn quantile(values: &[f64], p: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let position = p * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[position.floor() as usize], sorted[position.ceil() as usize]);
    below + (above - below) * position.fract()
}

pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// Returns the interval that contains 99 % of Binomial(`n`, `p`): at most 0.5 % is outside on either side.
pub(crate) fn binomial_interval_99(n: u32, p: f64) -> (u32, u32) {
    let (mut low, mut below) = (0, 0.0);
    let (mut high, mut up_to) = (n, 0.0);
    for (count, probability) in (0..=n).zip(binomial(n, p)) {
        if below + probability <= 0.005 {
            below += probability;
            low = count + 1;
        }
        up_to += probability;
        if up_to >= 0.995 {
            high = count;
            break;
        }
    }
    (low, high)
}

/// Returns P(0), P(1), …; computed in logarithms, because P(0) of many packets is too small for a float.
fn binomial(n: u32, p: f64) -> impl Iterator<Item = f64> {
    let first = f64::from(n) * (1.0 - p).ln();
    let step = move |logarithm: &f64, count: u32| {
        logarithm + (f64::from(n - count + 1) * p / (f64::from(count) * (1.0 - p))).ln()
    };
    let rest = (1..=n).scan(first, move |logarithm, count| {
        *logarithm = step(logarithm, count);
        Some(*logarithm)
    });
    std::iter::once(first).chain(rest).map(f64::exp)
}
