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
fn dispatcher(users: u32) -> (Arc<Dispatcher>, Vec<UserSlot>, Instant) {
    let until = Until { elapsed: None, operations: None };
    let settings = Settings { until, warm_up: Duration::from_secs(1), ..settings() };
    let (rate, process) = ("10/s".parse().unwrap(), ArrivalProcess::Constant);
    let arrivals = Arrivals { rate, process, offset: Duration::ZERO };
    let schedule = ArrivalSchedule::new(arrivals, &settings);
    let start = Instant::now() - Duration::from_secs(100);
    let (dispatcher, slots) = Dispatcher::new(schedule, start, start + settings.warm_up, users);
    (dispatcher, slots, start)
}

/// Polls for a virtual user's next arrival once.
fn poll(slot: &mut UserSlot) -> Poll<Option<Arrival>> {
    pin!(slot.next()).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn the_longest_idle_user_takes_the_next_arrival() {
    let (dispatcher, mut slots, start) = dispatcher(3);
    let mut order = Vec::new();
    let mut receivers: Vec<_> = slots.iter_mut().map(|slot| slot.first.take().unwrap()).collect();
    for arrival in 0..6 {
        dispatcher.arrive(start + GAP * arrival);
        let (user, got) =
            (0..).zip(&mut receivers).find_map(|(user, receiver)| receiver.try_recv().ok().map(|a| (user, a))).unwrap();
        assert_eq!(got, Arrival { intended: start + GAP * arrival, assignment: Assignment::Immediate });
        order.push(user);
        // The second user's operation takes longer: it becomes idle after that of the third.
        if user != 1 {
            become_idle(&dispatcher, &mut receivers, user);
        }
        if arrival == 2 {
            become_idle(&dispatcher, &mut receivers, 1);
        }
    }
    assert_eq!(order, [0, 1, 2, 0, 2, 1]);
}

fn become_idle(dispatcher: &Dispatcher, receivers: &mut [oneshot::Receiver<Arrival>], user: usize) {
    let NextArrival::Pending(receiver) = dispatcher.next_arrival() else { panic!("an arrival is queued") };
    receivers[user] = receiver;
}

#[test]
fn arrivals_without_an_idle_user_are_queued_in_order_with_their_intended_starts() {
    let (dispatcher, mut slots, start) = dispatcher(1);
    for arrival in 0..25 {
        dispatcher.arrive(start + GAP * arrival);
    }
    let slot = &mut slots[0];
    let intended: Vec<Instant> = (0..25).map(|_| ready(poll(slot)).intended).collect();
    assert_eq!(intended, (0..25).map(|arrival| start + GAP * arrival).collect::<Vec<_>>());
    assert!(poll(slot).is_pending());
    let arrivals = dispatcher.arrivals(ThreadScheduling::Normal);
    assert_eq!((arrivals.queued, arrivals.max_backlog), (15, 24), "ten arrived in the warm-up");
}

fn ready(poll: Poll<Option<Arrival>>) -> Arrival {
    let Poll::Ready(Some(arrival)) = poll else { panic!("no arrival is queued: {poll:?}") };
    arrival
}

#[test]
fn start_lateness_counts_measured_arrivals_with_an_idle_user() {
    let (dispatcher, _slots, start) = dispatcher(1);
    for arrival in [3, 20, 21] {
        // These starts are not from the schedule, which does not matter here.
        dispatcher.started(Arrival { intended: start + GAP * arrival, assignment: Assignment::Immediate });
    }
    dispatcher.started(Arrival { intended: start + GAP * 22, assignment: Assignment::Queued });
    let arrivals = dispatcher.arrivals(ThreadScheduling::Normal);
    assert_eq!(arrivals.on_schedule, 2);
    assert!(arrivals.max_us >= 98_000_000, "{arrivals:?}");
}

#[test]
fn queued_arrivals_start_after_closing_but_not_after_abandoning() {
    let (dispatcher, mut slots, start) = dispatcher(2);
    for arrival in 0..6 {
        dispatcher.arrive(start + GAP * arrival);
    }
    let (first, second) = slots.split_at_mut(1);
    for (slot, arrival) in [(&mut first[0], 0), (&mut second[0], 1)] {
        assert_eq!(ready(poll(slot)).intended, start + GAP * arrival);
    }
    dispatcher.close();
    dispatcher.arrive(start + GAP * 6);
    assert_eq!(dispatcher.backlog(), 4);
    assert_eq!(ready(poll(&mut first[0])).intended, start + GAP * 2);
    dispatcher.abandon();
    assert_eq!(poll(&mut first[0]), Poll::Ready(None));
    dispatcher.close();
    assert_eq!((poll(&mut second[0]), dispatcher.backlog()), (Poll::Ready(None), 3));
}

#[test]
fn closing_ends_idle_users() {
    let (dispatcher, mut slots, _) = dispatcher(2);
    dispatcher.close();
    assert_eq!(slots.iter_mut().map(poll).collect::<Vec<_>>(), [Poll::Ready(None); 2]);
}
