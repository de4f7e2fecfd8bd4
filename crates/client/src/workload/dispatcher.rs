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
    found: Found,
}

/// State of the virtual users at an arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    AFreeShopper,
    AllBusy,
}

/// Arrivals, idle virtual users and the queue.
#[derive(Debug)]
pub(super) struct Dispatcher {
    began: Instant,
    measured_from: Instant,
    state: Mutex<State>,
    lateness: StartLateness,
}

#[derive(Debug)]
struct State {
    /// Idle virtual users, the longest idle first. Empty while arrivals are queued.
    free: VecDeque<oneshot::Sender<Arrival>>,
    /// Intended starts of the arrivals that no virtual user has taken.
    to_begin: ArrivalSchedule,
    /// Queued arrivals.
    waiting: u64,
    max_backlog: u64,
    /// Arrivals of the measurement window that were queued.
    queued: u64,
    admission: Admission,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admission {
    /// Arrivals are accepted.
    Open,
    /// No further arrivals; queued ones still start.
    Closed,
    /// Nothing starts.
    Over,
}

/// Receiver of one virtual user's arrivals.
#[derive(Debug)]
pub(super) struct UserSlot {
    dispatch: Arc<Dispatcher>,
    /// Receiver of the first arrival: every virtual user is idle at first.
    first: Option<oneshot::Receiver<Arrival>>,
}

impl Dispatcher {
    /// Creates a dispatcher of `schedule`, which started at `began`, with one idle virtual user per returned slot, in
    /// their order.
    pub(super) fn new(
        schedule: ArrivalSchedule,
        began: Instant,
        measured_from: Instant,
        users: u32,
    ) -> (Arc<Self>, Vec<UserSlot>) {
        let (free, firsts): (VecDeque<_>, Vec<_>) = (0..users).map(|_| oneshot::channel()).unzip();
        let state =
            State { free, to_begin: schedule, waiting: 0, max_backlog: 0, queued: 0, admission: Admission::Open };
        let dispatch =
            Arc::new(Self { began, measured_from, state: Mutex::new(state), lateness: StartLateness::default() });
        let slots = firsts.into_iter().map(|first| UserSlot { dispatch: Arc::clone(&dispatch), first: Some(first) });
        let slots = slots.collect();
        (dispatch, slots)
    }

    /// Assigns or queues the next arrival of the schedule, whose intended start is `intended`.
    pub(super) fn arrive(&self, intended: Instant) {
        let mut state = self.lock();
        if state.admission != Admission::Open {
            return;
        }
        let Some(user) = state.free.pop_front() else {
            state.waiting += 1;
            state.max_backlog = state.max_backlog.max(state.waiting);
            state.queued += u64::from(intended >= self.measured_from);
            return;
        };
        // The queue is empty, so the next start of the schedule is this arrival's.
        let intended = state.to_begin.next().map_or(intended, |since| self.began + since);
        drop(state);
        // Fails only if the virtual user's task was aborted, and then the workload has failed.
        let _ = user.send(Arrival { intended, found: Found::AFreeShopper });
    }

    /// Accepts no further arrivals; queued ones still start.
    pub(super) fn close(&self) {
        self.end(Admission::Closed);
    }

    /// Accepts no further arrivals and starts no queued ones.
    pub(super) fn abandon(&self) {
        self.end(Admission::Over);
    }

    fn end(&self, how: Admission) {
        let mut state = self.lock();
        if state.admission != Admission::Over {
            state.admission = how;
        }
        // Dropping the senders ends the receivers' waiting.
        state.free.clear();
    }

    /// Records the start lateness of an operation that starts now, unless it was queued.
    pub(super) fn begins(&self, arrival: Arrival) {
        if arrival.found == Found::AFreeShopper && arrival.intended >= self.measured_from {
            self.lateness.add(arrival.intended.elapsed());
        }
    }

    /// Returns the number of queued arrivals.
    pub(super) fn waiting(&self) -> u64 {
        self.lock().waiting
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

    fn ask(&self) -> Exchange {
        let mut state = self.lock();
        if state.admission == Admission::Over {
            return Exchange::Over;
        }
        if state.waiting > 0
            && let Some(since) = state.to_begin.next()
        {
            state.waiting -= 1;
            return Exchange::Now(Arrival { intended: self.began + since, found: Found::AllBusy });
        }
        if state.admission == Admission::Closed {
            return Exchange::Over;
        }
        let (sender, receiver) = oneshot::channel();
        state.free.push_back(sender);
        Exchange::Later(receiver)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A poisoned lock is valid: no function panics between two related changes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Exchange {
    Now(Arrival),
    Later(oneshot::Receiver<Arrival>),
    Over,
}

impl UserSlot {
    /// Waits for the next arrival; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Arrival> {
        let place = match self.first.take() {
            Some(first) => first,
            None => match self.dispatch.ask() {
                Exchange::Now(arrival) => return Some(arrival),
                Exchange::Later(place) => place,
                Exchange::Over => return None,
            },
        };
        place.await.ok()
    }

    /// Records that the operation of `arrival` starts now.
    pub(super) fn begins(&self, arrival: Arrival) {
        self.dispatch.begins(arrival);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use super::*;
    use model::settings::ArrivalProcess;

    use crate::workload::settings::Arrivals;
    use crate::workload::settings::tests::settings;
    use crate::workload::settings::{Settings, Until};

    const GAP: Duration = Duration::from_millis(100);

    /// Creates a dispatcher of 10 arrivals/s that started 100 s ago with a warm-up of 1 s.
    fn dispatch(users: u32) -> (Arc<Dispatcher>, Vec<UserSlot>, Instant) {
        let until = Until { elapsed: None, operations: None };
        let settings = Settings { until, warm_up: Duration::from_secs(1), ..settings() };
        let (rate, process) = ("10/s".parse().unwrap(), ArrivalProcess::Constant);
        let arrivals = Arrivals { rate, process, offset: Duration::ZERO };
        let schedule = ArrivalSchedule::new(arrivals, &settings);
        let began = Instant::now() - Duration::from_secs(100);
        let (dispatch, slots) = Dispatcher::new(schedule, began, began + settings.warm_up, users);
        (dispatch, slots, began)
    }

    /// Polls for a virtual user's next arrival once.
    fn poll(slot: &mut UserSlot) -> Poll<Option<Arrival>> {
        pin!(slot.next()).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn the_longest_idle_user_takes_the_next_arrival() {
        let (dispatch, mut slots, began) = dispatch(3);
        let mut order = Vec::new();
        let mut place: Vec<_> = slots.iter_mut().map(|slot| slot.first.take().unwrap()).collect();
        for arrival in 0..6 {
            dispatch.arrive(began + GAP * arrival);
            let (user, got) = (0..).zip(&mut place).find_map(|(user, p)| p.try_recv().ok().map(|a| (user, a))).unwrap();
            assert_eq!(got, Arrival { intended: began + GAP * arrival, found: Found::AFreeShopper });
            order.push(user);
            // The second user's operation takes longer: it becomes idle after that of the third.
            if user != 1 {
                sit_down(&dispatch, &mut place, user);
            }
            if arrival == 2 {
                sit_down(&dispatch, &mut place, 1);
            }
        }
        assert_eq!(order, [0, 1, 2, 0, 2, 1]);
    }

    fn sit_down(dispatch: &Dispatcher, place: &mut [oneshot::Receiver<Arrival>], user: usize) {
        let Exchange::Later(receiver) = dispatch.ask() else { panic!("something waits") };
        place[user] = receiver;
    }

    #[test]
    fn arrivals_without_an_idle_user_are_queued_in_order_with_their_intended_starts() {
        let (dispatch, mut slots, began) = dispatch(1);
        for arrival in 0..25 {
            dispatch.arrive(began + GAP * arrival);
        }
        let slot = &mut slots[0];
        let intended: Vec<Instant> = (0..25).map(|_| ready(poll(slot)).intended).collect();
        assert_eq!(intended, (0..25).map(|arrival| began + GAP * arrival).collect::<Vec<_>>());
        assert!(poll(slot).is_pending());
        let arrivals = dispatch.arrivals(ThreadScheduling::Normal);
        assert_eq!((arrivals.queued, arrivals.max_backlog), (15, 24), "ten arrived in the warm-up");
    }

    fn ready(poll: Poll<Option<Arrival>>) -> Arrival {
        let Poll::Ready(Some(arrival)) = poll else { panic!("nothing waits: {poll:?}") };
        arrival
    }

    #[test]
    fn start_lateness_counts_measured_arrivals_with_an_idle_user() {
        let (dispatch, _seats, began) = dispatch(1);
        for arrival in [3, 20, 21] {
            // These starts are not from the schedule, which does not matter here.
            dispatch.begins(Arrival { intended: began + GAP * arrival, found: Found::AFreeShopper });
        }
        dispatch.begins(Arrival { intended: began + GAP * 22, found: Found::AllBusy });
        let arrivals = dispatch.arrivals(ThreadScheduling::Normal);
        assert_eq!(arrivals.on_schedule, 2);
        assert!(arrivals.max_us >= 98_000_000, "{arrivals:?}");
    }

    #[test]
    fn queued_arrivals_start_after_closing_but_not_after_abandoning() {
        let (dispatch, mut slots, began) = dispatch(2);
        for arrival in 0..6 {
            dispatch.arrive(began + GAP * arrival);
        }
        let (first, second) = slots.split_at_mut(1);
        for (slot, arrival) in [(&mut first[0], 0), (&mut second[0], 1)] {
            assert_eq!(ready(poll(slot)).intended, began + GAP * arrival);
        }
        dispatch.close();
        dispatch.arrive(began + GAP * 6);
        assert_eq!(dispatch.waiting(), 4);
        assert_eq!(ready(poll(&mut first[0])).intended, began + GAP * 2);
        dispatch.abandon();
        assert_eq!(poll(&mut first[0]), Poll::Ready(None));
        dispatch.close();
        assert_eq!((poll(&mut second[0]), dispatch.waiting()), (Poll::Ready(None), 3));
    }

    #[test]
    fn closing_ends_idle_users() {
        let (dispatch, mut slots, _) = dispatch(2);
        dispatch.close();
        assert_eq!(slots.iter_mut().map(poll).collect::<Vec<_>>(), [Poll::Ready(None); 2]);
    }
}
