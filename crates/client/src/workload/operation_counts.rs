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
    printed_errors: AtomicU64,
}

/// Maximum number of errors printed on stderr; more would add little information.
const MAX_PRINTED_ERRORS: u64 = 20;

impl OperationCounts {
    /// Returns whether one more error may be printed on stderr, and counts it.
    pub(super) fn may_print_error(&self) -> bool {
        self.printed_errors.fetch_add(1, Ordering::Relaxed) < MAX_PRINTED_ERRORS
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
