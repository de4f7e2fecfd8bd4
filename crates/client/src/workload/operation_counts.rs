//! Counts of the operations of all virtual users of a process.

use std::sync::atomic::{AtomicU64, Ordering};

use model::messages::workload::{ArrivalReport, Event};
use model::sample::{Outcome, Phase};

/// Counts that are updated during the workload.
#[derive(Debug, Default)]
pub(super) struct OperationCounts {
    operations: AtomicU64,
    errors: AtomicU64,
    warm_up: AtomicU64,
    unfinished: AtomicU64,
    explained: AtomicU64,
}

/// Maximum number of failures reported on stderr; more would add little information.
const MAX_EXPLAINED: u64 = 20;

impl OperationCounts {
    /// Returns whether one more failure may be reported on stderr.
    pub(super) fn may_explain(&self) -> bool {
        self.explained.fetch_add(1, Ordering::Relaxed) < MAX_EXPLAINED
    }

    /// Counts an operation that ended and has a row.
    pub(super) fn ended(&self, outcome: Outcome, phase: Phase) {
        self.operations.fetch_add(1, Ordering::Relaxed);
        if outcome != Outcome::Ok {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        if phase == Phase::WarmUp {
            self.warm_up.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts operations that did not end, or did not start, before the end of the workload.
    pub(super) fn unfinished(&self, count: u64) {
        self.unfinished.fetch_add(count, Ordering::Relaxed);
    }

    /// Returns the progress event.
    pub(super) fn progress(&self) -> Event {
        Event::Progress {
            operations: self.operations.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
        }
    }

    /// Returns the last event, with the arrival report of an open loop.
    pub(super) fn done(&self, arrivals: Option<ArrivalReport>) -> Event {
        Event::Done {
            operations: self.operations.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            unfinished: self.unfinished.load(Ordering::Relaxed),
            warm_up: self.warm_up.load(Ordering::Relaxed),
            arrivals,
        }
    }
}
