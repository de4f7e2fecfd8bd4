//! Texts of the progress and the summary of a workload.

use std::time::Duration;

use model::messages::workload::{ArrivalReport, Event, ThreadScheduling};

/// Returns the counts after `elapsed`.
pub(super) fn running(elapsed: Duration, operations: u64, errors: u64) -> String {
    let seconds = elapsed.as_secs_f64();
    let rate = operations as f64 / seconds.max(1e-3);
    format!("{seconds:.0} s · {operations} operations · {rate:.0}/s · {errors} errors")
}

/// Returns the counts of the last event, after `elapsed`.
pub(super) fn totals(elapsed: Duration, event: &Event) -> Option<String> {
    let Event::Done { operations, errors, unfinished, warm_up, arrivals } = *event else { return None };
    let mut parts = vec![running(elapsed, operations, errors)];
    if warm_up > 0 {
        parts.push(format!("{warm_up} of them warm-up"));
    }
    if unfinished > 0 {
        parts.push(format!("{unfinished} unfinished"));
    }
    parts.extend(arrivals.map(|arrivals| start_lateness(&arrivals)));
    Some(parts.join(" · "))
}

fn start_lateness(arrivals: &ArrivalReport) -> String {
    let ms = |us: u64| us as f64 / 1e3;
    let ArrivalReport { on_schedule, p50_us, p99_us, max_us, scheduling, .. } = *arrivals;
    if on_schedule == 0 {
        return "no scheduled arrivals".to_owned();
    }
    let scheduling = match scheduling {
        ThreadScheduling::Realtime => "with real-time scheduling",
        ThreadScheduling::Normal => "without real-time scheduling",
    };
    let (p50, p99, max) = (ms(p50_us), ms(p99_us), ms(max_us));
    format!("start lateness p50 {p50:.3}, p99 {p99:.3}, max {max:.3} ms, {scheduling}")
}

/// Returns a note if operations were queued.
pub(super) fn backlog(event: &Event) -> Option<String> {
    let Event::Done { arrivals: Some(ArrivalReport { on_schedule, queued, max_backlog, .. }), .. } = *event else {
        return None;
    };
    (queued > 0).then(|| {
        format!(
            "{queued} of {} operations were queued (backlog up to {max_backlog}): latency_ms includes the wait, wait_ms is \
             the wait; raise --users unless the shop is the bottleneck",
            on_schedule + queued
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(queued: u64, warm_up: u64, unfinished: u64) -> Event {
        let scheduling = ThreadScheduling::Normal;
        let arrivals = ArrivalReport {
            on_schedule: 90,
            queued,
            max_backlog: 4,
            p50_us: 41,
            p99_us: 190,
            max_us: 2002,
            scheduling,
        };
        Event::Done { operations: 100, errors: 1, unfinished, warm_up, arrivals: Some(arrivals) }
    }

    #[test]
    fn the_totals_contain_warm_up_unfinished_operations_and_start_lateness() {
        let ten_seconds = Duration::from_secs(10);
        assert_eq!(
            totals(ten_seconds, &done(0, 7, 2)).unwrap(),
            "10 s · 100 operations · 10/s · 1 errors · 7 of them warm-up · 2 unfinished · \
             start lateness p50 0.041, p99 0.190, max 2.002 ms, without real-time scheduling"
        );
        let closed = Event::Done { operations: 100, errors: 1, unfinished: 0, warm_up: 0, arrivals: None };
        assert_eq!(totals(ten_seconds, &closed).unwrap(), "10 s · 100 operations · 10/s · 1 errors");
    }

    #[test]
    fn a_backlog_is_reported_only_if_operations_were_queued() {
        assert_eq!(backlog(&done(0, 0, 0)), None);
        assert!(backlog(&done(10, 0, 0)).unwrap().starts_with("10 of 100 operations were queued (backlog up to 4)"));
    }
}
