//! Counting what all virtual users of a process did, for progress and for the end.

use std::sync::atomic::{AtomicU64, Ordering};

use model::messages::workload::{ArrivalReport, Event};
use model::sample::{Outcome, Phase};

/// Running counts.
#[derive(Debug, Default)]
pub(super) struct OperationCounts {
    operations: AtomicU64,
    errors: AtomicU64,
    warm_up: AtomicU64,
    unfinished: AtomicU64,
    explained: AtomicU64,
}

/// Failures that are explained to people; more of them would hardly say more.
const MAX_EXPLAINED: u64 = 20;

impl OperationCounts {
    /// Whether one more failure is worth an explanation.
    pub(super) fn may_explain(&self) -> bool {
        self.explained.fetch_add(1, Ordering::Relaxed) < MAX_EXPLAINED
    }

    /// An operation ended and has its row.
    pub(super) fn ended(&self, outcome: Outcome, phase: Phase) {
        self.operations.fetch_add(1, Ordering::Relaxed);
        if outcome != Outcome::Ok {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        if phase == Phase::WarmUp {
            self.warm_up.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// So many operations were given up, or never started, because the workload ended.
    pub(super) fn unfinished(&self, count: u64) {
        self.unfinished.fetch_add(count, Ordering::Relaxed);
    }

    /// The counts so far.
    pub(super) fn progress(&self) -> Event {
        Event::Progress {
            operations: self.operations.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
        }
    }

    /// The counts at the end, and how an arrival schedule was kept if there was one.
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
