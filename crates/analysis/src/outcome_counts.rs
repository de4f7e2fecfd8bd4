//! How operations ended: one count for each outcome.

use crate::sample::Outcome;

/// Operations counted by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutcomeCounts {
    counts: [u64; Outcome::ALL.len()],
}

impl OutcomeCounts {
    /// Counts one operation.
    pub fn count(&mut self, outcome: Outcome) {
        self.counts[outcome as usize] += 1;
    }

    /// How many ended in `outcome`.
    #[must_use]
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.counts[outcome as usize]
    }

    /// How many were tried.
    #[must_use]
    pub fn tried(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many ended in anything but [`Outcome::Ok`].
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.tried() - self.of(Outcome::Ok)
    }

    /// Which percentage of the operations that were tried ended in `outcome`; `None` when none was tried.
    #[must_use]
    pub fn percent_of(&self, outcome: Outcome) -> Option<f64> {
        self.percent(self.of(outcome))
    }

    /// Which percentage of the operations that were tried failed; `None` when none was tried.
    #[must_use]
    pub fn error_percent(&self) -> Option<f64> {
        self.percent(self.errors())
    }

    fn percent(&self, part: u64) -> Option<f64> {
        let tried = self.tried();
        (tried > 0).then(|| 100.0 * part as f64 / tried as f64)
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
        let counts: OutcomeCounts = Outcome::ALL.into_iter().chain([Outcome::Ok, Outcome::Timeout]).collect();
        assert_eq!((counts.tried(), counts.of(Outcome::Ok), counts.errors()), (8, 2, 6));
        assert_eq!(counts.percent_of(Outcome::Timeout), Some(25.0));
        assert_eq!(counts.error_percent(), Some(75.0));
    }

    #[test]
    fn each_outcome_has_a_count_of_its_own() {
        for outcome in Outcome::ALL {
            let counts: OutcomeCounts = [outcome].into_iter().collect();
            assert_eq!(
                Outcome::ALL.map(|other| counts.of(other)),
                Outcome::ALL.map(|other| u64::from(other == outcome))
            );
        }
    }

    #[test]
    fn nothing_tried_has_no_percentage() {
        assert_eq!(OutcomeCounts::default().error_percent(), None);
    }
}
