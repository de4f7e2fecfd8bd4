//! A compact list of numbers: clients write times with at most three decimals, which fit four bytes instead of eight.

/// Numbers in their order; NaN is a missing number. Every other number is returned exactly as it was added.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Numbers {
    /// Thousandths; [`MISSING`] is a missing number.
    Thousandths(Vec<u32>),
    /// Used for the whole list as soon as one number is not a small multiple of a thousandth.
    Exact(Vec<f64>),
}

const MISSING: u32 = u32::MAX;

impl Default for Numbers {
    fn default() -> Self {
        Numbers::Thousandths(Vec::new())
    }
}

impl Numbers {
    pub(crate) fn push(&mut self, number: f64) {
        match self {
            Numbers::Exact(numbers) => numbers.push(number),
            Numbers::Thousandths(numbers) => match thousandths(number) {
                Some(thousandths) => numbers.push(thousandths),
                None => {
                    *self = Numbers::Exact(self.iter().chain([number]).collect());
                }
            },
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Numbers::Thousandths(numbers) => numbers.len(),
            Numbers::Exact(numbers) => numbers.len(),
        }
    }

    pub(crate) fn get(&self, index: usize) -> f64 {
        match self {
            Numbers::Thousandths(numbers) => from_thousandths(numbers[index]),
            Numbers::Exact(numbers) => numbers[index],
        }
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = f64> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Returns the number of leading numbers that satisfy `is_before`, in a list in which all of these are in front.
    pub(crate) fn partition_point(&self, is_before: impl Fn(f64) -> bool) -> usize {
        match self {
            Numbers::Thousandths(numbers) => numbers.partition_point(|number| is_before(from_thousandths(*number))),
            Numbers::Exact(numbers) => numbers.partition_point(|number| is_before(*number)),
        }
    }

    /// Returns the numbers at `indices` that are finite.
    pub(crate) fn select(&self, indices: &[u32]) -> Numbers {
        let indices = indices.iter().map(|index| *index as usize);
        match self {
            Numbers::Thousandths(numbers) => {
                // An iterator with a filter would reserve too little and then too much.
                let mut selected = Vec::with_capacity(indices.len());
                selected.extend(indices.map(|index| numbers[index]).filter(|number| *number != MISSING));
                Numbers::Thousandths(selected)
            }
            Numbers::Exact(numbers) => {
                Numbers::Exact(indices.map(|index| numbers[index]).filter(|number| number.is_finite()).collect())
            }
        }
    }

    /// Joins lists.
    pub(crate) fn concat<'a>(lists: impl Iterator<Item = &'a Numbers> + Clone) -> Numbers {
        let length = lists.clone().map(Numbers::len).sum();
        let mut joined = Vec::with_capacity(length);
        for list in lists.clone() {
            let Numbers::Thousandths(numbers) = list else {
                return Numbers::Exact(lists.flat_map(Numbers::iter).collect());
            };
            joined.extend_from_slice(numbers);
        }
        Numbers::Thousandths(joined)
    }

    /// Sorts the numbers in ascending order; missing ones are last.
    pub(crate) fn sort(&mut self) {
        // The stable sort is fast on mostly sorted input: often several sorted lists are joined.
        match self {
            Numbers::Thousandths(numbers) => numbers.sort(),
            Numbers::Exact(numbers) => numbers.sort_by(f64::total_cmp),
        }
    }
}

/// Returns the number in thousandths, if [`from_thousandths`] restores all its bits.
fn thousandths(number: f64) -> Option<u32> {
    if number.is_nan() {
        return Some(MISSING);
    }
    // A number that does not fit becomes the largest or smallest one, which does not pass the comparison.
    let thousandths = (number * 1000.0).round() as u32;
    (thousandths != MISSING && from_thousandths(thousandths).to_bits() == number.to_bits()).then_some(thousandths)
}

/// Returns the number nearest to the decimal fraction, as parsing its text does.
fn from_thousandths(thousandths: u32) -> f64 {
    if thousandths == MISSING { f64::NAN } else { f64::from(thousandths) / 1000.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(numbers: &[f64]) -> Numbers {
        let mut list = Numbers::default();
        numbers.iter().for_each(|number| list.push(*number));
        list
    }

    fn bits(numbers: &Numbers) -> Vec<u64> {
        numbers.iter().map(f64::to_bits).collect()
    }

    #[test]
    fn one_number_with_more_digits_makes_the_list_exact() {
        assert!(matches!(of(&[0.0, 12.345, f64::NAN, 4_294_967.294]), Numbers::Thousandths(_)));
        for other in [0.0001, -0.0, -1.0, 4_294_967.295, 1e300] {
            let list = of(&[1.5, f64::NAN, other]);
            assert!(matches!(list, Numbers::Exact(_)), "{other}");
            assert_eq!(bits(&list), [1.5_f64, f64::NAN, other].map(f64::to_bits));
        }
    }

    #[test]
    fn lists_of_both_kinds_can_be_joined() {
        let mut joined = Numbers::concat([of(&[2.5, 4.0]), of(&[0.12345])].iter());
        joined.sort();
        assert_eq!(joined.iter().collect::<Vec<_>>(), [0.12345, 2.5, 4.0]);
        assert_eq!(of(&[7.0, f64::NAN, 8.0]).select(&[2, 1, 0]), of(&[8.0, 7.0]));
    }

    proptest! {
        #[test]
        fn every_number_is_returned_exactly(
            numbers in prop::collection::vec(prop_oneof![any::<f64>(), (0..u32::MAX).prop_map(|n| f64::from(n) / 1000.0)], 1..9),
            text in (0..5_000_000_u32, 0..1000_u32).prop_map(|(whole, decimals)| format!("{whole}.{decimals:03}")),
        ) {
            let numbers: Vec<f64> = numbers.into_iter().filter(|number| !number.is_nan()).collect();
            prop_assert_eq!(bits(&of(&numbers)), numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>());
            let parsed: f64 = text.parse().unwrap();
            prop_assert_eq!(bits(&of(&[parsed])), [parsed.to_bits()]);
        }
    }
}
