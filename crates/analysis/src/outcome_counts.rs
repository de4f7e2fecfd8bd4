//! The number of operations with each outcome.

use model::Outcome;

/// Number of operations per outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct OutcomeCounts {
    counts: [u64; Outcome::ALL.len()],
}

impl OutcomeCounts {
    /// Counts one operation.
    pub(crate) fn count(&mut self, outcome: Outcome) {
        self.counts[outcome as usize] += 1;
    }

    /// Returns the counts of both together.
    #[must_use]
    pub(crate) fn plus(mut self, other: &OutcomeCounts) -> Self {
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
        self
    }

    /// Returns the number of operations with `outcome`.
    #[must_use]
    pub(crate) fn of(&self, outcome: Outcome) -> u64 {
        self.counts[outcome as usize]
    }

    /// Returns the number of all operations.
    #[must_use]
    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the number of operations with an outcome other than [`Outcome::Ok`].
    #[must_use]
    pub(crate) fn errors(&self) -> u64 {
        self.total() - self.of(Outcome::Ok)
    }

    /// Returns the percentage of operations with `outcome`; `None` without operations.
    #[must_use]
    pub(crate) fn percent_of(&self, outcome: Outcome) -> Option<f64> {
        self.percent(self.of(outcome))
    }

    /// Returns the percentage of failed operations; `None` without operations.
    #[must_use]
    pub(crate) fn error_percent(&self) -> Option<f64> {
        self.percent(self.errors())
    }

    fn percent(&self, count: u64) -> Option<f64> {
        let total = self.total();
        (total > 0).then(|| 100.0 * count as f64 / total as f64)
    }
}

impl FromIterator<Outcome> for OutcomeCounts {
    fn from_iter<I: IntoIterator<Item = Outcome>>(outcomes: I) -> Self {
        let mut counts = OutcomeCounts::default();
        outcomes.into_iter().for_each(|outcome| counts.count(outcome));
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_but_ok_is_an_error() {
        let counts: OutcomeCounts = Outcome::ALL.iter().copied().chain([Outcome::Ok, Outcome::Timeout]).collect();
        assert_eq!((counts.total(), counts.of(Outcome::Ok), counts.errors()), (8, 2, 6));
        assert_eq!(counts.percent_of(Outcome::Timeout), Some(25.0));
        assert_eq!(counts.error_percent(), Some(75.0));
    }

    #[test]
    fn each_outcome_has_its_own_count() {
        for &outcome in Outcome::ALL {
            let counts: OutcomeCounts = [outcome].into_iter().collect();
            for &other in Outcome::ALL {
                assert_eq!(counts.of(other), u64::from(other == outcome));
            }
        }
    }

    #[test]
    fn no_operations_have_no_percentage() {
        assert_eq!(OutcomeCounts::default().error_percent(), None);
    }
}
