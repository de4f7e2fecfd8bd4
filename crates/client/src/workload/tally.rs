//! Counting what all shoppers of a process did, for progress and for the end.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::control::Event;
use crate::sample::Outcome;

/// Running counts.
#[derive(Debug, Default)]
pub(super) struct Tally {
    operations: AtomicU64,
    errors: AtomicU64,
    cut_off: AtomicU64,
}

impl Tally {
    /// An operation ended and has its row.
    pub(super) fn ended(&self, outcome: Outcome) {
        self.operations.fetch_add(1, Ordering::Relaxed);
        if outcome != Outcome::Ok {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// An operation was given up because the workload ended.
    pub(super) fn cut_off(&self) {
        self.cut_off.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts so far.
    pub(super) fn progress(&self) -> Event {
        Event::Progress {
            operations: self.operations.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
        }
    }

    /// The counts at the end.
    pub(super) fn done(&self) -> Event {
        Event::Done {
            operations: self.operations.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            cut_off: self.cut_off.load(Ordering::Relaxed),
            pacing: None,
        }
    }
}
