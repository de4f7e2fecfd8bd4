//! The table of conditions in its four forms.

use analysis::sample::Outcome;
use analysis::{CellInfo, ConditionRow, Format, Verdict, condition_rows, condition_table, condition_table_within};

/// Delay 0 and 100 ms; latencies known by heart.
fn small() -> crate::synthetic::Run {
    let delay = |ms: f64| (("delay", format!("{ms}ms"), ms, 1), crate::synthetic::Link::default());
    let mut run = crate::synthetic::run(1, 3, vec![delay(0.0), delay(100.0)]);
    for (sample, latency) in run.samples.iter_mut().zip([1.0, 2.0, 3.0, 101.0, 103.0, 9999.0]) {
        (sample.latency_ms, sample.rtt_ms, sample.outcome) = (latency, Some(latency / 2.0), Outcome::Ok);
    }
    run.samples[5].outcome = Outcome::Timeout;
    run.cells[1].verdict = Verdict::Unverified;
    run
}

#[test]
fn differences_are_against_the_pooled_baseline() {
    let run = small();
    let rows = condition_rows(&run.samples, &run.cells, 1);
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
fn the_terminal_form_marks_doubts_and_thin_percentiles() {
    let mut run = small();
    run.cells[1].overloaded = true;
    let text = condition_table(&run.samples, &run.cells, Format::Table, 1);
    let slow = text.lines().find(|line| line.contains("100ms")).unwrap();
    let words: Vec<&str> = slow.split_whitespace().collect();
    let expected = [
        "delay", "100ms", "!~", "3", "1", "33.3", "0.10", "0.0", "102*", "+100", "103*", "+100", "103*", "51.0*",
        "+50.0", "51.5*", "+50.0", "51.5*",
    ];
    assert_eq!(words, expected, "{text}");
    for note in ["! unverified", "~ overloaded", "* too few values", "p95 200", "No ±: an interval needs 5"] {
        assert!(text.contains(note), "'{note}' is missing in\n{text}");
    }
    run.cells[0].overloaded = true;
    let text = condition_table(&run.samples, &run.cells, Format::Table, 1);
    assert!(text.contains("every baseline cell is in doubt (overloaded)"), "{text}");
}

#[test]
fn each_doubt_has_a_mark_and_a_remedy_of_its_own() {
    for (verdict, stalled, mark, note) in [
        (Verdict::Unverified, false, "100ms !", "! unverified: the condition was not confirmed"),
        (Verdict::Failed, false, "100ms ×", "× failed: the server or a client failed"),
        (Verdict::Interrupted, false, "100ms /", "/ interrupted: the run was stopped in a cell; resume the run"),
        (Verdict::Verified, true, "100ms ^", "^ server stalled: slow operations were slow in the server"),
    ] {
        let mut run = small();
        (run.cells[1].verdict, run.cells[1].stalled) = (verdict, stalled);
        let text = condition_table(&run.samples, &run.cells, Format::Table, 1);
        assert!(text.contains(mark) && text.contains(note), "{text}");
        let issues = ["! not", "× failed", "/ interrupted", "~ overloaded", "^ server"].map(|note| text.contains(note));
        assert_eq!(issues.iter().filter(|told| **told).count(), 1, "{text}");
    }
}

#[test]
fn operations_per_second_and_slow_ones_are_counted() {
    let mut run = small();
    for (sample, latency) in run.samples.iter_mut().zip([200.0, 200.1, 3.0]) {
        sample.latency_ms = latency;
    }
    run.samples[3].outcome = Outcome::Timeout;
    (run.cells[0].measured_s, run.cells[1].measured_s) = (1.5, 0.0);
    let rows = condition_rows(&run.samples, &run.cells, 1);
    let slow = |index: usize| rows[index].slower_than_200_ms_percent;
    assert_eq!((slow(1), rows[1].operations_per_s), (Some(100.0 / 3.0), Some(2.0)));
    assert_eq!((slow(2), rows[2].operations_per_s), (Some(0.0), None), "failed operations have no latency to judge");
}

#[test]
fn columns_that_do_not_fit_are_omitted_in_their_order_and_named() {
    let mut run = crate::synthetic::repeated_sweep(1, 60, 5);
    run.cells.iter_mut().for_each(|cell| (cell.verdict, cell.overloaded) = (Verdict::Unverified, true));
    let heads = |width: usize| {
        let text = condition_table_within(&run.samples, &run.cells, 1, width);
        let table: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).collect();
        let widest = table.iter().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= width, "{widest} columns:\n{text}");
        let note = text.lines().find_map(|line| line.strip_prefix("Too narrow for: ")).unwrap_or_default().to_owned();
        (table[0].split_whitespace().collect::<Vec<_>>().join(" "), note)
    };
    let all = "condition value n errors % ops/s >200 ms latency p50 ± Δ p95 Δ p99 RTT p50 Δ p95 Δ p99";
    assert_eq!(heads(140), (all.to_owned(), String::new()));
    let (head, note) = heads(80);
    assert_eq!(head, "condition value n % ops/s >200 ms latency p50 ± Δ p95 p99");
    assert!(note.starts_with("RTT p95 Δ, RTT p99, RTT p95, RTT p50 Δ, latency p95 Δ, errors, RTT p50 ("), "{note}");
    assert_eq!(heads(40).0, "condition value latency p50 p99");
    let (head, _) = heads(45);
    assert!(head.starts_with("condition value") && head.ends_with("latency p50 Δ p99"), "{head}");
}

#[test]
fn it_fits_140_columns_with_large_numbers() {
    let mut run = crate::synthetic::repeated_sweep(1, 60, 5);
    for sample in &mut run.samples {
        // Up to minutes: longer than any request may take.
        sample.latency_ms *= 100.0;
        sample.rtt_ms = sample.rtt_ms.map(|rtt| rtt * 100.0);
    }
    run.cells
        .iter_mut()
        .for_each(|cell| (cell.verdict, cell.overloaded, cell.stalled) = (Verdict::Unverified, true, true));
    let text = condition_table(&run.samples, &run.cells, Format::Table, 1);
    let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(widest <= 140, "{widest} columns:\n{text}");
    assert_eq!(text.lines().filter(|line| line.contains("kbit")).count(), 3);
}

#[test]
fn medians_have_their_interval_from_five_repetitions_on() {
    let run = crate::synthetic::repeated_sweep(1, 60, 5);
    let rows = condition_rows(&run.samples, &run.cells, 1);
    for row in &rows {
        let (value, low, high) = (row.latency_p50_ms, row.latency_p50_low_ms, row.latency_p50_high_ms);
        assert!(low.is_some() && low <= value && value <= high, "{row:?}");
    }
    let text = condition_table(&run.samples, &run.cells, Format::Table, 1);
    let off = rows[0].latency_p50_high_ms.unwrap() - rows[0].latency_p50_ms.unwrap();
    let off = off.max(rows[0].latency_p50_ms.unwrap() - rows[0].latency_p50_low_ms.unwrap());
    assert!(text.lines().next().unwrap().contains("latency p50 ") && text.contains(&format!(" {off:.2} ")), "{text}");
    assert!(text.contains("± is the longer side"), "{text}");
    assert_eq!(rows, condition_rows(&run.samples, &run.cells, 1), "the same seed gives the same intervals");
    assert_ne!(rows, condition_rows(&run.samples, &run.cells, 2));
    let few = crate::synthetic::repeated_sweep(1, 60, 4);
    let rows = condition_rows(&few.samples, &few.cells, 1);
    // The pooled baseline has eight cells, of loss and of delay.
    assert!(rows[0].latency_p50_low_ms.is_some() && rows[1..].iter().all(|row| row.latency_p50_low_ms.is_none()));
}

#[test]
fn samples_of_unlisted_cells_are_told_of() {
    let mut run = small();
    run.cells.truncate(1);
    let text = condition_table(&run.samples, &run.cells, Format::Markdown, 1);
    assert!(text.contains("3 samples belong to no listed cell"), "{text}");
}

#[test]
fn markdown_has_a_rule_and_a_column_for_each_head() {
    let run = small();
    let text = condition_table(&run.samples, &run.cells, Format::Markdown, 1);
    let table: Vec<&str> = text.lines().take_while(|line| line.starts_with('|')).collect();
    assert_eq!(table.len(), 5, "{text}");
    assert!(table[1].chars().all(|sign| matches!(sign, '|' | '-' | ':' | ' ')), "{text}");
    assert!(table.iter().all(|line| line.matches('|').count() == 18), "{text}");
}

#[test]
fn csv_and_json_carry_every_row_and_digit() {
    let run = small();
    let rows = condition_rows(&run.samples, &run.cells, 1);
    let text = condition_table(&run.samples, &run.cells, Format::Csv, 1);
    let read: Result<Vec<ConditionRow>, _> = csv::Reader::from_reader(text.as_bytes()).deserialize().collect();
    assert_eq!(read.unwrap(), rows);
    let text = condition_table(&run.samples, &run.cells, Format::Json, 1);
    assert_eq!(serde_json::from_str::<Vec<ConditionRow>>(&text).unwrap(), rows);
}

#[test]
fn a_cell_without_samples_is_a_row_of_nothing() {
    let cell = CellInfo {
        cell: "rate-9kbit-r1".to_owned(),
        condition: "rate".to_owned(),
        value: "9kbit".to_owned(),
        repetition: 1,
        baseline: false,
        magnitude: 9.0,
        verdict: Verdict::Failed,
        measured_s: 0.0,
        overloaded: false,
        stalled: false,
        rate_kbit: Some(9.0),
    };
    let rows = condition_rows(&[], &[cell], 1);
    assert_eq!((rows.len(), rows[0].n, rows[0].error_percent, rows[0].latency_p50_ms), (1, 0, None, None));
}
