//! The table of conditions in its four formats.

use analysis::{ConditionRow, Format, Verdict};
use model::{Outcome, SweptParameter};

/// Returns a run with delay 0 and 100 ms and known latencies.
fn small() -> crate::synthetic::Run {
    let delay = |ms: f64| ((SweptParameter::Delay, format!("{ms}ms"), ms, 1), crate::synthetic::Link::default());
    let mut run = crate::synthetic::run(1, 3, vec![delay(0.0), delay(100.0)]);
    for (row, latency) in run.samples.iter_mut().zip([1.0, 2.0, 3.0, 101.0, 103.0, 9999.0]) {
        let sample = &mut row.sample;
        (sample.latency_ms, sample.rtt_ms, sample.outcome) = (latency, Some(latency / 2.0), Outcome::Ok);
    }
    run.samples[5].sample.outcome = Outcome::Timeout;
    run.cells[1].verdict = Verdict::Unverified;
    run
}

#[test]
fn differences_are_relative_to_the_pooled_baseline() {
    let run = small();
    let rows = run.analyse(1).conditions();
    let names: Vec<(&str, &str)> = rows.iter().map(|row| (row.condition.as_str(), row.value.as_str())).collect();
    assert_eq!(names, [("baseline", ""), ("delay", "0ms"), ("delay", "100ms")]);
    assert_eq!((rows[0].latency_p50_ms, rows[0].latency_p50_delta_ms), (Some(2.0), None));
    let slow = &rows[2];
    assert_eq!((slow.n, slow.errors, slow.latency_p50_ms, slow.latency_p50_delta_ms), (3, 1, Some(102.0), Some(100.0)));
    assert_eq!((slow.rtt_p50_ms, slow.rtt_p50_delta_ms), (Some(51.0), Some(50.0)));
    let p95_delta = slow.latency_p95_delta_ms.unwrap();
    assert!((p95_delta - (102.9 - 2.9)).abs() < 1e-9, "{p95_delta}");
    assert_eq!((slow.cells, slow.unverified_cells, slow.undersampled.as_str()), (1, 1, "p50 p95 p99"));
}

#[test]
fn the_terminal_format_marks_issues_and_undersampled_percentiles() {
    let mut run = small();
    run.cells[1].overloaded = true;
    let text = run.analyse(1).table(Format::Table, None);
    let slow = text.lines().find(|line| line.contains("100ms")).unwrap();
    let fields: Vec<&str> = slow.split_whitespace().collect();
    let expected = [
        "delay", "100ms", "!~", "3", "1", "33.3", "0.10", "0.0", "102*", "+100", "103*", "+100", "103*", "51.0*",
        "+50.0", "51.5*", "+50.0", "51.5*",
    ];
    assert_eq!(fields, expected, "{text}");
    for note in [
        "Times in ms, successful operations only; Δ: difference from the baseline",
        "! unverified",
        "~ overloaded",
        "* undersampled (minimum: p50 20, p95 200, p99 1000)",
        "No ±: a CI needs at least 5 differing repetitions",
    ] {
        assert!(text.contains(note), "'{note}' is missing in\n{text}");
    }
    run.cells[0].overloaded = true;
    let text = run.analyse(1).table(Format::Table, None);
    assert!(text.contains("Δ unreliable: every baseline cell is marked ~ (overloaded)"), "{text}");
}

#[test]
fn each_issue_has_its_own_mark_and_advice() {
    for (verdict, stalled, mark, note) in [
        (Verdict::Unverified, false, "100ms !", "! unverified: the condition was not confirmed in every cell"),
        (Verdict::Failed, false, "100ms ×", "× failed: the server or a client failed"),
        (Verdict::Interrupted, false, "100ms /", "/ interrupted: the run was stopped in a cell; resume the run"),
        (Verdict::Verified, true, "100ms ^", "^ server stalled: slow operations were slow in the server"),
    ] {
        let mut run = small();
        (run.cells[1].verdict, run.cells[1].stalled) = (verdict, stalled);
        let text = run.analyse(1).table(Format::Table, None);
        assert!(text.contains(mark) && text.contains(note), "{text}");
        let notes = ["! unverified", "× failed", "/ interrupted", "~ overloaded", "^ server"];
        assert_eq!(notes.iter().filter(|note| text.contains(**note)).count(), 1, "{text}");
    }
}

#[test]
fn operations_per_second_and_slow_ones_are_counted() {
    let mut run = small();
    for (row, latency) in run.samples.iter_mut().zip([200.0, 200.1, 3.0]) {
        row.sample.latency_ms = latency;
    }
    run.samples[3].sample.outcome = Outcome::Timeout;
    (run.cells[0].measured_s, run.cells[1].measured_s) = (1.5, 0.0);
    let rows = run.analyse(1).conditions();
    let slow = |index: usize| rows[index].slower_than_200_ms_percent;
    assert_eq!((slow(1), rows[1].operations_per_s), (Some(100.0 / 3.0), Some(2.0)));
    assert_eq!((slow(2), rows[2].operations_per_s), (Some(0.0), None), "failed operations have no latency");
}

#[test]
fn columns_that_do_not_fit_are_omitted_in_their_order_and_listed() {
    let mut run = crate::synthetic::repeated_sweep(1, 60, 5);
    run.cells.iter_mut().for_each(|cell| (cell.verdict, cell.overloaded) = (Verdict::Unverified, true));
    let headers = |width: usize| {
        let text = run.analyse(1).table(Format::Table, Some(width));
        let table: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).collect();
        let widest = table.iter().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= width, "{widest} columns:\n{text}");
        let note = text
            .lines()
            .find_map(|line| line.strip_prefix("Terminal too narrow, omitted: "))
            .unwrap_or_default()
            .to_owned();
        (table[0].split_whitespace().collect::<Vec<_>>().join(" "), note)
    };
    let all = "condition value n errors % ops/s >200 ms latency p50 ± Δ p95 Δ p99 RTT p50 Δ p95 Δ p99";
    assert_eq!(headers(140), (all.to_owned(), String::new()));
    let (header, note) = headers(80);
    assert_eq!(header, "condition value n % ops/s >200 ms latency p50 ± Δ p95 p99");
    assert!(note.starts_with("RTT p95 Δ, RTT p99, RTT p95, RTT p50 Δ, latency p95 Δ, errors, RTT p50 ("), "{note}");
    assert_eq!(headers(40).0, "condition value latency p50 p99");
    let (header, _) = headers(45);
    assert!(header.starts_with("condition value") && header.ends_with("latency p50 Δ p99"), "{header}");
}

#[test]
fn a_table_of_large_numbers_fits_140_columns() {
    let mut run = crate::synthetic::repeated_sweep(1, 60, 5);
    for row in &mut run.samples {
        // Up to minutes, more than any request timeout.
        row.sample.latency_ms *= 100.0;
        row.sample.rtt_ms = row.sample.rtt_ms.map(|rtt| rtt * 100.0);
    }
    run.cells
        .iter_mut()
        .for_each(|cell| (cell.verdict, cell.overloaded, cell.stalled) = (Verdict::Unverified, true, true));
    let text = run.analyse(1).table(Format::Table, None);
    let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(widest <= 140, "{widest} columns:\n{text}");
    assert_eq!(text.lines().filter(|line| line.contains("kbit")).count(), 3);
}

#[test]
fn medians_have_a_confidence_interval_from_five_repetitions_on() {
    let run = crate::synthetic::repeated_sweep(1, 60, 5);
    let rows = run.analyse(1).conditions();
    for row in &rows {
        let (value, low, high) = (row.latency_p50_ms, row.latency_p50_low_ms, row.latency_p50_high_ms);
        assert!(low.is_some() && low <= value && value <= high, "{row:?}");
    }
    let text = run.analyse(1).table(Format::Table, None);
    let half_width = rows[0].latency_p50_high_ms.unwrap() - rows[0].latency_p50_ms.unwrap();
    let half_width = half_width.max(rows[0].latency_p50_ms.unwrap() - rows[0].latency_p50_low_ms.unwrap());
    assert!(
        text.lines().next().unwrap().contains("latency p50 ") && text.contains(&format!(" {half_width:.2} ")),
        "{text}"
    );
    assert!(text.contains("±: larger half-width of the p50's 95 % CI over repetitions"), "{text}");
    assert_eq!(rows, run.analyse(1).conditions(), "the same seed gives the same intervals");
    assert_ne!(rows, run.analyse(2).conditions());
    let few = crate::synthetic::repeated_sweep(1, 60, 4);
    let rows = few.analyse(1).conditions();
    // The pooled baseline has eight cells, of loss and of delay.
    assert!(rows[0].latency_p50_low_ms.is_some() && rows[1..].iter().all(|row| row.latency_p50_low_ms.is_none()));
}

#[test]
fn samples_of_unlisted_cells_are_reported() {
    let mut run = small();
    run.cells.truncate(1);
    let text = run.analyse(1).table(Format::Markdown, None);
    assert!(text.contains("3 samples of cells not in cells.csv ignored"), "{text}");
}

#[test]
fn markdown_has_a_separator_line_and_a_column_for_each_header() {
    let run = small();
    let text = run.analyse(1).table(Format::Markdown, None);
    let table: Vec<&str> = text.lines().take_while(|line| line.starts_with('|')).collect();
    assert_eq!(table.len(), 5, "{text}");
    assert!(table[1].chars().all(|sign| matches!(sign, '|' | '-' | ':' | ' ')), "{text}");
    assert!(table.iter().all(|line| line.matches('|').count() == 18), "{text}");
}

#[test]
fn csv_and_json_contain_every_row_with_full_precision() {
    let run = small();
    let rows = run.analyse(1).conditions();
    let text = run.analyse(1).table(Format::Csv, None);
    let read: Result<Vec<ConditionRow>, _> = csv::Reader::from_reader(text.as_bytes()).deserialize().collect();
    assert_eq!(read.unwrap(), rows);
    let text = run.analyse(1).table(Format::Json, None);
    assert_eq!(serde_json::from_str::<Vec<ConditionRow>>(&text).unwrap(), rows);
}

#[test]
fn a_cell_without_samples_is_an_empty_row() {
    let cell = crate::synthetic::cell((SweptParameter::Rate, "9kbit".to_owned(), 9.0, 1));
    let mut cell = crate::synthetic::info(cell, Verdict::Failed);
    cell.measured_s = 0.0;
    let run = crate::synthetic::Run { samples: Vec::new(), cells: vec![cell] };
    let rows = run.analyse(1).conditions();
    assert_eq!((rows.len(), rows[0].n, rows[0].error_percent, rows[0].latency_p50_ms), (1, 0, None, None));
}
