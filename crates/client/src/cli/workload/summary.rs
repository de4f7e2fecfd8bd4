//! What a workload came to, in words for people.

use std::time::Duration;

use crate::control::{Event, Pacing, Priority};

/// The running counts after `elapsed`.
pub(super) fn running(elapsed: Duration, operations: u64, errors: u64) -> String {
    let seconds = elapsed.as_secs_f64();
    let rate = operations as f64 / seconds.max(1e-3);
    format!("{seconds:.0} s · {operations} operations · {rate:.0}/s · {errors} errors")
}

/// The counts at the end, after `elapsed`; for the last event.
pub(super) fn ended(elapsed: Duration, event: &Event) -> Option<String> {
    let Event::Done { operations, errors, cut_off, warm_up, pacing } = *event else { return None };
    let mut parts = vec![running(elapsed, operations, errors)];
    if warm_up > 0 {
        parts.push(format!("{warm_up} of them warm-up"));
    }
    if cut_off > 0 {
        parts.push(format!("{cut_off} cut off at the end"));
    }
    parts.extend(pacing.map(|pacing| punctuality(&pacing)));
    Some(parts.join(" · "))
}

fn punctuality(pacing: &Pacing) -> String {
    let ms = |us: u64| us as f64 / 1e3;
    let Pacing { paced, p50_us, p99_us, max_us, priority, .. } = *pacing;
    if paced == 0 {
        return "nothing began by the timetable".to_owned();
    }
    let priority = match priority {
        Priority::Realtime => "with real-time priority",
        Priority::Shared => "without real-time priority",
    };
    let (p50, p99, max) = (ms(p50_us), ms(p99_us), ms(max_us));
    format!("began late by p50 {p50:.3}, p99 {p99:.3}, max {max:.3} ms {priority}")
}

/// What must be said when operations had to wait for a shopper.
pub(super) fn backlog(event: &Event) -> Option<String> {
    let Event::Done { pacing: Some(Pacing { paced, waited, most_waiting, .. }), .. } = *event else { return None };
    (waited > 0).then(|| {
        format!(
            "{waited} of {} operations found no shopper free, up to {most_waiting} at once: latency_ms counts from when \
             they should have begun, wait_ms says how long they waited. More --users help unless the shop is the limit",
            paced + waited
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(waited: u64, warm_up: u64, cut_off: u64) -> Event {
        let priority = Priority::Shared;
        let pacing = Pacing { paced: 90, waited, most_waiting: 4, p50_us: 41, p99_us: 190, max_us: 2002, priority };
        Event::Done { operations: 100, errors: 1, cut_off, warm_up, pacing: Some(pacing) }
    }

    #[test]
    fn the_end_tells_the_warm_up_what_was_cut_off_and_the_lateness() {
        let ten_seconds = Duration::from_secs(10);
        assert_eq!(
            ended(ten_seconds, &done(0, 7, 2)).unwrap(),
            "10 s · 100 operations · 10/s · 1 errors · 7 of them warm-up · 2 cut off at the end · \
             began late by p50 0.041, p99 0.190, max 2.002 ms without real-time priority"
        );
        let closed = Event::Done { operations: 100, errors: 1, cut_off: 0, warm_up: 0, pacing: None };
        assert_eq!(ended(ten_seconds, &closed).unwrap(), "10 s · 100 operations · 10/s · 1 errors");
    }

    #[test]
    fn waiting_is_said_only_when_there_was_some() {
        assert_eq!(backlog(&done(0, 0, 0)), None);
        assert!(backlog(&done(10, 0, 0)).unwrap().starts_with("10 of 100 operations found no shopper free, up to 4"));
    }
}
