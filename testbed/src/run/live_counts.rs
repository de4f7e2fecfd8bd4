//! Progress counts of the clients of a cell.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use model::messages::workload::{ArrivalReport, Event, ThreadScheduling};

/// Counts of one client, or the sum over all clients.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct ClientCounts {
    /// Operations that ended so far.
    pub(crate) operations: u64,
    /// Of these, operations with an outcome other than `ok`.
    pub(crate) errors: u64,
    /// Operations in flight when the clients had to stop.
    pub(crate) unfinished: u64,
    /// CPU time of the client that used most for each of its threads.
    pub(crate) cpu: Option<ClientCpu>,
    /// Start lateness in an open loop: sums of all clients' counts, and the maximum of each percentile.
    pub(crate) arrivals: Option<ArrivalReport>,
}

/// CPU time of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientCpu {
    /// CPU time in the cell, warm-up included.
    pub(crate) used: Duration,
    /// Threads that its virtual users share.
    pub(crate) threads: u32,
}

/// Counts of all clients of a cell, shared with the progress display.
#[derive(Clone, Default)]
pub(crate) struct LiveCounts(Rc<RefCell<Vec<ClientCounts>>>);

impl LiveCounts {
    /// Creates the counts of this many clients.
    pub(super) fn new(clients: usize) -> Self {
        Self(Rc::new(RefCell::new(vec![ClientCounts::default(); clients])))
    }

    /// Returns the sum over all clients.
    pub(crate) fn total(&self) -> ClientCounts {
        self.0.borrow().iter().fold(ClientCounts::default(), |sum, count| ClientCounts {
            operations: sum.operations + count.operations,
            errors: sum.errors + count.errors,
            unfinished: sum.unfinished + count.unfinished,
            cpu: sum.cpu.into_iter().chain(count.cpu).reduce(ClientCpu::busier),
            arrivals: combined(sum.arrivals, count.arrivals),
        })
    }

    /// Returns the counts of one client.
    pub(super) fn of(&self, index: usize) -> ClientCounts {
        self.0.borrow().get(index).copied().unwrap_or_default()
    }

    /// Applies an event. Returns whether it was the client's last one.
    pub(super) fn update(&self, index: usize, event: Event) -> bool {
        let mut counts = self.0.borrow_mut();
        let Some(count) = counts.get_mut(index) else { return false };
        match event {
            Event::Ready => {}
            Event::Progress { operations, errors } => *count = ClientCounts { operations, errors, ..*count },
            Event::Cpu { used_ms, threads } => {
                count.cpu = Some(ClientCpu { used: Duration::from_millis(used_ms), threads });
            }
            Event::Done { operations, errors, unfinished, arrivals, .. } => {
                *count = ClientCounts { operations, errors, unfinished, arrivals, ..*count };
                return true;
            }
        }
        false
    }
}

impl ClientCpu {
    /// Returns the CPU load during `elapsed`, percent of one core for each thread.
    pub(crate) fn percent_of_threads(self, elapsed: Duration) -> f64 {
        self.used.as_secs_f64() / elapsed.as_secs_f64() / f64::from(self.threads.max(1)) * 100.0
    }

    /// Returns the one that used more for each thread.
    fn busier(self, other: Self) -> Self {
        let per_thread = |cpu: Self| cpu.used / cpu.threads.max(1);
        if per_thread(other) > per_thread(self) { other } else { self }
    }
}

/// Combines the reports of two clients. Counts are summed, which makes the backlog an upper bound. Percentiles are
/// maxima: percentiles of all operations cannot be computed from percentiles per client.
fn combined(one: Option<ArrivalReport>, other: Option<ArrivalReport>) -> Option<ArrivalReport> {
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
