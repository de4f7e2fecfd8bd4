//! The empirical distribution function: the fraction of the values that are at most x.

use crate::percentile::Sorted;

/// An empirical distribution function, with one step per distinct value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ecdf {
    steps: Vec<(f64, f64)>,
}

impl Ecdf {
    /// Computes the ECDF of `values`; `None` without values.
    #[must_use]
    pub(crate) fn of(values: &Sorted) -> Option<Self> {
        let n = values.len() as f64;
        let mut steps: Vec<(f64, f64)> = Vec::new();
        for (index, value) in values.iter().enumerate() {
            let fraction = (index + 1) as f64 / n;
            match steps.last_mut() {
                Some(last) if last.0 == value => last.1 = fraction,
                _ => steps.push((value, fraction)),
            }
        }
        (!steps.is_empty()).then_some(Ecdf { steps })
    }

    /// Returns `(value, fraction of values up to it)` in ascending order; the last fraction is 1.
    #[must_use]
    pub(crate) fn steps(&self) -> &[(f64, f64)] {
        &self.steps
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equal_values_make_one_step() {
        let ecdf = Ecdf::of(&Sorted::new([2.0, 1.0, 2.0, 5.0])).unwrap();
        assert_eq!(ecdf.steps(), [(1.0, 0.25), (2.0, 0.75), (5.0, 1.0)]);
    }

    #[test]
    fn no_values_have_no_ecdf() {
        assert_eq!(Ecdf::of(&Sorted::default()), None);
    }

    proptest! {
        #[test]
        fn it_increases_and_ends_at_one(values in prop::collection::vec(0.0..10.0f64, 1..200)) {
            let ecdf = Ecdf::of(&Sorted::new(values)).unwrap();
            prop_assert!(ecdf.steps().windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1));
            prop_assert_eq!(ecdf.steps().last().unwrap().1, 1.0);
        }
    }
}
