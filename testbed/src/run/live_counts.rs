//! What the clients of a cell tell while they work.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use model::messages::workload::{ArrivalReport, Event, ThreadScheduling};

/// Operations and errors so far, over all clients.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Count {
    /// Operations that ended.
    pub(crate) operations: u64,
    /// Of these, other than `ok`.
    pub(crate) errors: u64,
    /// Under way when clients had to stop.
    pub(crate) unfinished: u64,
    /// CPU time of the client that used the most for each of its threads.
    pub(crate) cpu: Option<ClientCpu>,
    /// How late operations of an open loop began: counts of all clients, and the worst of each percentile.
    pub(crate) arrivals: Option<ArrivalReport>,
}

/// What one client used of the processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientCpu {
    /// CPU time in the cell, warm-up included.
    pub(crate) used: Duration,
    /// Threads that its shoppers share.
    pub(crate) threads: u32,
}

/// Where the clients' counts meet; shared with the progress display.
#[derive(Clone, Default)]
pub(crate) struct LiveCounts(Rc<RefCell<Vec<Count>>>);

impl LiveCounts {
    /// For so many clients.
    pub(super) fn new(clients: usize) -> Self {
        Self(Rc::new(RefCell::new(vec![Count::default(); clients])))
    }

    /// The sum over all clients.
    pub(crate) fn total(&self) -> Count {
        self.0.borrow().iter().fold(Count::default(), |sum, count| Count {
            operations: sum.operations + count.operations,
            errors: sum.errors + count.errors,
            unfinished: sum.unfinished + count.unfinished,
            cpu: sum.cpu.into_iter().chain(count.cpu).reduce(ClientCpu::busier),
            arrivals: worst(sum.arrivals, count.arrivals),
        })
    }

    /// What one client has told.
    pub(super) fn of(&self, index: usize) -> Count {
        self.0.borrow().get(index).copied().unwrap_or_default()
    }

    /// Takes an event in; says whether it was the last.
    pub(super) fn note(&self, index: usize, event: Event) -> bool {
        let mut counts = self.0.borrow_mut();
        let Some(count) = counts.get_mut(index) else { return false };
        match event {
            Event::Ready => {}
            Event::Progress { operations, errors } => *count = Count { operations, errors, ..*count },
            Event::Cpu { used_ms, threads } => {
                count.cpu = Some(ClientCpu { used: Duration::from_millis(used_ms), threads });
            }
            Event::Done { operations, errors, unfinished, arrivals, .. } => {
                *count = Count { operations, errors, unfinished, arrivals, ..*count };
                return true;
            }
        }
        false
    }
}

impl ClientCpu {
    /// CPU time over elapsed time, percent of one core for each thread.
    pub(crate) fn percent_of_threads(self, elapsed: Duration) -> f64 {
        self.used.as_secs_f64() / elapsed.as_secs_f64() / f64::from(self.threads.max(1)) * 100.0
    }

    /// The one of two that used more for each thread.
    fn busier(self, other: Self) -> Self {
        let of_each = |cpu: Self| cpu.used / cpu.threads.max(1);
        if of_each(other) > of_each(self) { other } else { self }
    }
}

/// The pacing of several clients: their counts together (at most so many waited at once), and of each percentile the
/// worst, since percentiles of several can't be had from theirs.
fn worst(one: Option<ArrivalReport>, other: Option<ArrivalReport>) -> Option<ArrivalReport> {
    let (Some(one), Some(other)) = (one, other) else { return one.or(other) };
    Some(ArrivalReport {
        on_schedule: one.on_schedule + other.on_schedule,
        queued: one.queued + other.queued,
        max_backlog: one.max_backlog + other.max_backlog,
        p50_us: one.p50_us.max(other.p50_us),
        p99_us: one.p99_us.max(other.p99_us),
        max_us: one.max_us.max(other.max_us),
        scheduling: if one.scheduling == other.scheduling { one.scheduling } else { ThreadScheduling::Normal },
    })
}
