//! Assigns the arrivals of an open loop to idle virtual users, the longest idle first. Without an idle user arrivals
//! are queued in order.
//!
//! The queue is a count: intended starts are computed again when operations start.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::workload::arrival_schedule::ArrivalSchedule;
use crate::workload::latency_histogram::StartLateness;
use model::messages::workload::{ArrivalReport, ThreadScheduling};

/// One arrival, which starts one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrival {
    /// Intended start.
    pub(super) intended: Instant,
    assignment: Assignment,
}

/// Time at which an arrival got its virtual user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Assignment {
    Immediate,
    /// All virtual users were busy.
    Queued,
}

/// Arrivals, idle virtual users and the queue.
#[derive(Debug)]
pub(super) struct Dispatcher {
    start: Instant,
    measured_from: Instant,
    state: Mutex<State>,
    lateness: StartLateness,
}

#[derive(Debug)]
struct State {
    /// Idle virtual users, the longest idle first. Empty while arrivals are queued.
    idle: VecDeque<oneshot::Sender<Arrival>>,
    /// Intended starts of the arrivals without a virtual user.
    unassigned: ArrivalSchedule,
    /// Number of queued arrivals.
    backlog: u64,
    max_backlog: u64,
    /// Arrivals of the measurement window that were queued.
    queued: u64,
    intake: Intake,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Intake {
    /// Arrivals are accepted.
    Open,
    /// No further arrivals; queued ones still start.
    Closed,
    /// Nothing starts, not even queued arrivals.
    Abandoned,
}

/// Receiver of one virtual user's arrivals.
#[derive(Debug)]
pub(super) struct UserSlot {
    dispatcher: Arc<Dispatcher>,
    /// Receiver of the first arrival: every virtual user is idle at first.
    first: Option<oneshot::Receiver<Arrival>>,
}

impl Dispatcher {
    /// Creates a dispatcher of `schedule`, which started at `start`, with one idle virtual user per returned slot, in
    /// their order.
    pub(super) fn new(
        schedule: ArrivalSchedule,
        start: Instant,
        measured_from: Instant,
        users: u32,
    ) -> (Arc<Self>, Vec<UserSlot>) {
        let (idle, firsts): (VecDeque<_>, Vec<_>) = (0..users).map(|_| oneshot::channel()).unzip();
        let state = State { idle, unassigned: schedule, backlog: 0, max_backlog: 0, queued: 0, intake: Intake::Open };
        let dispatcher =
            Arc::new(Self { start, measured_from, state: Mutex::new(state), lateness: StartLateness::default() });
        let slot = |first| UserSlot { dispatcher: Arc::clone(&dispatcher), first: Some(first) };
        let slots = firsts.into_iter().map(slot).collect();
        (dispatcher, slots)
    }

    /// Assigns or queues the next arrival of the schedule, whose intended start is `intended`.
    pub(super) fn arrive(&self, intended: Instant) {
        let mut state = self.lock();
        if state.intake != Intake::Open {
            return;
        }
        let Some(user) = state.idle.pop_front() else {
            state.backlog += 1;
            state.max_backlog = state.max_backlog.max(state.backlog);
            state.queued += u64::from(intended >= self.measured_from);
            return;
        };
        // The queue is empty, so the next start of the schedule is this arrival's.
        let intended = state.unassigned.next().map_or(intended, |since| self.start + since);
        drop(state);
        // Fails only if the virtual user's task was aborted, and then the workload has failed.
        let _ = user.send(Arrival { intended, assignment: Assignment::Immediate });
    }

    /// Accepts no further arrivals; queued ones still start.
    pub(super) fn close(&self) {
        self.end(Intake::Closed);
    }

    /// Accepts no further arrivals and starts no queued ones.
    pub(super) fn abandon(&self) {
        self.end(Intake::Abandoned);
    }

    fn end(&self, intake: Intake) {
        let mut state = self.lock();
        if state.intake != Intake::Abandoned {
            state.intake = intake;
        }
        // Dropping the senders wakes up their receivers.
        state.idle.clear();
    }

    /// Records the start lateness of an operation that starts now, unless it was queued.
    pub(super) fn started(&self, arrival: Arrival) {
        if arrival.assignment == Assignment::Immediate && arrival.intended >= self.measured_from {
            self.lateness.add(arrival.intended.elapsed());
        }
    }

    /// Returns the number of queued arrivals.
    pub(super) fn backlog(&self) -> u64 {
        self.lock().backlog
    }

    /// Returns the report on start lateness and queue.
    pub(super) fn arrivals(&self, scheduling: ThreadScheduling) -> ArrivalReport {
        let state = self.lock();
        ArrivalReport {
            on_schedule: self.lateness.count(),
            queued: state.queued,
            max_backlog: state.max_backlog,
            p50_us: self.lateness.percentile_us(50),
            p99_us: self.lateness.percentile_us(99),
            max_us: self.lateness.max_us(),
            scheduling,
        }
    }

    fn next_arrival(&self) -> NextArrival {
        let mut state = self.lock();
        if state.intake == Intake::Abandoned {
            return NextArrival::Ended;
        }
        if state.backlog > 0
            && let Some(since) = state.unassigned.next()
        {
            state.backlog -= 1;
            return NextArrival::Queued(Arrival { intended: self.start + since, assignment: Assignment::Queued });
        }
        if state.intake == Intake::Closed {
            return NextArrival::Ended;
        }
        let (sender, receiver) = oneshot::channel();
        state.idle.push_back(sender);
        NextArrival::Pending(receiver)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A poisoned lock is valid: no function panics between two related changes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum NextArrival {
    Queued(Arrival),
    Pending(oneshot::Receiver<Arrival>),
    Ended,
}

impl UserSlot {
    /// Waits for the next arrival; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Arrival> {
        let receiver = match self.first.take() {
            Some(first) => first,
            None => match self.dispatcher.next_arrival() {
                NextArrival::Queued(arrival) => return Some(arrival),
                NextArrival::Pending(receiver) => receiver,
                NextArrival::Ended => return None,
            },
        };
        receiver.await.ok()
    }

    /// Records that the operation of `arrival` starts now.
    pub(super) fn started(&self, arrival: Arrival) {
        self.dispatcher.started(arrival);
    }
}

#[cfg(test)]
mod tests;
