//! Random numbers from a given seed: the same seed and names give the same numbers, whatever the versions of libraries.

/// `SplitMix64`: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// Creates a separate stream for each list of names.
    pub(crate) fn new(seed: u64, names: &[&str]) -> Self {
        // FNV-1a; names are separated by a byte that UTF-8 text does not contain.
        let bytes = names.iter().flat_map(|name| name.bytes().chain([0xff]));
        let hash =
            bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Random(seed ^ hash)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Draws from the uniform distribution on 0 to 1, 1 excluded.
    #[cfg(test)]
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Draws a point from the uniform distribution on the unit disc.
    fn in_disc(&mut self) -> (f64, f64) {
        loop {
            // Both coordinates come from one draw: resampling takes most of the time of a report.
            let bits = self.next();
            let coordinate = |bits: u32| f64::from(bits) / f64::from(1_u32 << 31) - 1.0;
            let (x, y) = (coordinate((bits >> 32) as u32), coordinate(bits as u32));
            if x * x + y * y <= 1.0 {
                return (x, y);
            }
        }
    }

    /// Draws from the distribution Beta(1/2, 3/2): the square of a coordinate of a point in the unit disc, because the
    /// density of that coordinate is a semicircle.
    pub(crate) fn beta(&mut self) -> f64 {
        let (x, _) = self.in_disc();
        x * x
    }

    /// Draws from the standard normal distribution (Marsaglia's polar method).
    #[cfg(test)]
    pub(crate) fn normal(&mut self) -> f64 {
        let (x, y) = self.in_disc();
        let square = (x * x + y * y).max(f64::MIN_POSITIVE);
        x * (-2.0 * square.ln() / square).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(mut draw: impl FnMut() -> f64) -> (f64, f64) {
        let values: Vec<f64> = (0..200_000).map(|_| draw()).collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        (mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n)
    }

    #[test]
    fn distributions_have_the_expected_moments() {
        let mut random = Random::new(1, &[]);
        let check = |(mean, variance): (f64, f64), expected: (f64, f64)| {
            assert!((mean - expected.0).abs() < 0.01 && (variance - expected.1).abs() < 0.01, "{mean} {variance}");
        };
        check(moments(|| random.uniform()), (0.5, 1.0 / 12.0));
        // Beta(a, b): mean a/(a + b), variance ab/((a + b)²(a + b + 1)).
        check(moments(|| random.beta()), (0.25, 0.0625));
        check(moments(|| random.normal()), (0.0, 1.0));
    }

    #[test]
    fn each_list_of_names_has_its_own_stream() {
        let first = |seed, names: &[&str]| Random::new(seed, names).next();
        assert_eq!(first(1, &["a", "b"]), first(1, &["a", "b"]));
        let all = [first(1, &["a", "b"]), first(2, &["a", "b"]), first(1, &["ab"]), first(1, &["b", "a"])];
        assert!((0..4).all(|index| !all[..index].contains(&all[index])), "{all:?}");
    }
}
