//! The empirical distribution function: which share of the values is at most x.

use crate::percentile::Sorted;

/// The steps of an ECDF, one for each distinct value.
#[derive(Debug, Clone, PartialEq)]
pub struct Ecdf {
    steps: Vec<(f64, f64)>,
}

impl Ecdf {
    /// The ECDF of `values`; `None` when there are none.
    #[must_use]
    pub fn of(values: &Sorted) -> Option<Self> {
        let n = values.len() as f64;
        let mut steps: Vec<(f64, f64)> = Vec::new();
        for (index, &value) in values.values().iter().enumerate() {
            let share = (index + 1) as f64 / n;
            match steps.last_mut() {
                Some(last) if last.0 == value => last.1 = share,
                _ => steps.push((value, share)),
            }
        }
        (!steps.is_empty()).then_some(Ecdf { steps })
    }

    /// `(value, share of values at most that)`, values ascending; the last share is 1.
    #[must_use]
    pub fn steps(&self) -> &[(f64, f64)] {
        &self.steps
    }

    /// The share of values that are at most `x`, 0 to 1.
    #[must_use]
    pub fn share_at(&self, x: f64) -> f64 {
        let after = self.steps.partition_point(|(value, _)| *value <= x);
        if after == 0 { 0.0 } else { self.steps[after - 1].1 }
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
        assert_eq!([0.9, 1.0, 4.9, 5.0, 9.0].map(|x| ecdf.share_at(x)), [0.0, 0.25, 0.75, 1.0, 1.0]);
    }

    #[test]
    fn nothing_has_no_ecdf() {
        assert_eq!(Ecdf::of(&Sorted::default()), None);
    }

    proptest! {
        #[test]
        fn it_rises_and_ends_at_one(values in prop::collection::vec(0.0..10.0f64, 1..200)) {
            let ecdf = Ecdf::of(&Sorted::new(values)).unwrap();
            prop_assert!(ecdf.steps().windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1));
            prop_assert_eq!(ecdf.steps().last().unwrap().1, 1.0);
        }
    }
}
