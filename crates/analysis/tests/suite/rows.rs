//! The rows of intervals.csv and breakdown.csv of a synthetic run.

use std::collections::BTreeSet;

use analysis::{BreakdownRow, IntervalRow};
use model::Outcome;

fn interval<'a>(rows: &'a [IntervalRow], names: [&str; 4]) -> &'a IntervalRow {
    let [value, operation, metric, statistic] = names;
    let matches = |row: &&IntervalRow| {
        row.value == value && row.operation == operation && row.metric == metric && row.statistic == statistic
    };
    rows.iter().find(matches).unwrap_or_else(|| panic!("no row {names:?}"))
}

fn breakdown<'a>(rows: &'a [BreakdownRow], value: &str, operation: &str, subset: &str) -> &'a BreakdownRow {
    let matches = |row: &&BreakdownRow| row.value == value && row.operation == operation && row.subset == subset;
    rows.iter().find(matches).unwrap_or_else(|| panic!("no row {value} {operation} {subset}"))
}

#[test]
fn every_statistic_has_a_row_and_an_interval_or_a_reason() {
    let mut run = crate::synthetic::repeated_sweep(3, 300, 5);
    for row in run.samples.iter_mut().filter(|row| row.labels.value == "2%") {
        if row.sample.sequence % (15 + u64::from(row.labels.repetition)) == 0 {
            row.sample.outcome = Outcome::Reset;
        }
    }
    let rows = run.analyse(9).intervals();
    // Ten pooled values (nine and the baseline), seven operations with `all`, 3 × 4 statistics and the error rate.
    assert_eq!(rows.len(), 10 * 7 * 13);
    for row in &rows {
        assert_eq!(row.note.is_empty(), row.low.is_some() && row.high.is_some(), "{row:?}");
        assert!(row.low.is_none_or(|low| Some(low) <= row.estimate), "{row:?}");
        assert!(row.high.is_none_or(|high| Some(high) >= row.estimate), "{row:?}");
    }
    let median = interval(&rows, ["50ms", "all", "latency", "p50"]);
    assert_eq!((median.repetitions, median.undersampled, median.level), (5, false, 0.95));
    assert!(median.low.is_some() && median.unit == "ms", "{median:?}");
    let undersampled = interval(&rows, ["50ms", "login", "latency", "p99"]);
    assert_eq!((undersampled.undersampled, undersampled.note.as_str()), (true, "undersampled"));
    let errors = interval(&rows, ["2%", "all", "errors", "rate"]);
    assert!(errors.low > Some(4.0) && errors.high < Some(9.0) && errors.unit == "percent", "{errors:?}");
    let none = interval(&rows, ["50ms", "all", "errors", "rate"]);
    assert_eq!((none.estimate, none.note.as_str()), (Some(0.0), "fewer than 10 errors or successes"));
    assert_eq!(rows, run.analyse(9).intervals());
}

#[test]
fn too_few_repetitions_are_reported() {
    let run = crate::synthetic::repeated_sweep(3, 30, 4);
    let rows = run.analyse(9).intervals();
    let median = interval(&rows, ["50ms", "all", "latency", "p50"]);
    assert_eq!((median.low, median.note.as_str()), (None, "4 repetitions (minimum: 5)"));
}

#[test]
fn breakdowns_add_up_and_show_the_cost_of_each_condition() {
    let run = crate::synthetic::sweep(3, 600);
    let rows = run.analyse(1).breakdown();
    for row in &rows {
        let components =
            row.queueing_ms + row.handshake_ms + row.round_trips_ms + row.transmission_ms + row.retransmission_ms;
        let components = components + row.server_ms + row.database_ms + row.other_ms;
        assert!((components - row.latency_ms).abs() < 1e-6 * row.latency_ms, "{row:?}");
    }
    let operations: BTreeSet<&str> = rows.iter().map(|row| row.operation.as_str()).collect();
    assert_eq!(operations.len(), 7);
    let delayed = breakdown(&rows, "100ms", "all", "all");
    assert!((delayed.handshake_ms - 101.0).abs() < 1.5 && (delayed.round_trips_ms - 100.15).abs() < 0.3, "{delayed:?}");
    assert!(delayed.retransmission_ms == 0.0 && delayed.transmission_ms == 0.0, "{delayed:?}");
    // 5200 bytes at 100 kbit/s take 416 ms, and half of that again in the queue.
    let slow = breakdown(&rows, "100kbit", "view_products", "all");
    assert!((slow.transmission_ms - 624.0).abs() < 30.0, "{slow:?}");
    let lossy = breakdown(&rows, "2%", "all", "all");
    let tail = breakdown(&rows, "2%", "all", "slowest");
    assert!(lossy.retransmission_ms > 10.0 && tail.retransmission_ms > 0.9 * tail.latency_ms, "{lossy:?} {tail:?}");
    assert!(tail.n < lossy.n / 15, "{} of {}", tail.n, lossy.n);
}
