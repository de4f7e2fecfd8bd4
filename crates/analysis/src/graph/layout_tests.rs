//! Tests of layouts: the texts of a graph, and that labels are inside it and do not overlap.

use model::{Outcome, SweptParameter};

use crate::cell::{CellInfo, Verdict};
use crate::graph::font::Fonts;
use crate::graph::scene::{Label, Rect, Scene, Shape};
use crate::graph::{GraphError, RunTitle, lay_out};
use crate::synthetic;
use crate::synthetic::{Link, Run};

fn title() -> RunTitle {
    RunTitle { run_id: "20250301-101500-loss-and-rate".to_owned(), line: "10000 clients, docker, tcset".to_owned() }
}

fn scenes(run: &Run) -> Vec<(String, Scene)> {
    lay_out(Fonts::load().unwrap(), run.analyse(1).run(), &title()).unwrap()
}

fn scene(run: &Run, name: &str) -> Scene {
    scenes(run).into_iter().find(|(found, _)| found == name).unwrap_or_else(|| panic!("no graph {name}")).1
}

fn texts(scene: &Scene) -> Vec<&str> {
    scene.labels().map(|label| label.text.as_str()).collect()
}

fn overlap(a: &Rect, b: &Rect) -> bool {
    a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom
}

fn check_labels(of: &str, run: &Run) {
    let fonts = Fonts::load().unwrap();
    for (name, scene) in scenes(run) {
        let boxes: Vec<(&Label, Rect)> = scene.labels().map(|label| (label, label.bounds(fonts))).collect();
        for (index, (label, bounds)) in boxes.iter().enumerate() {
            let inside = bounds.left >= 0.0
                && bounds.top >= 0.0
                && bounds.right <= f64::from(scene.width)
                && bounds.bottom <= f64::from(scene.height);
            assert!(inside, "{of}/{name}: '{}' is cut off: {bounds:?}", label.text);
            for (other, other_bounds) in &boxes[index + 1..] {
                assert!(!overlap(bounds, other_bounds), "{of}/{name}: '{}' overlaps '{}'", label.text, other.text);
            }
        }
    }
}

fn many_values() -> Run {
    let cell = |step: i32| {
        let delay_ms = f64::from(step) * 25.0;
        ((SweptParameter::Delay, format!("{delay_ms}ms"), delay_ms, 1), Link { delay_ms, loss: 3.0, ..Link::default() })
    };
    synthetic::run(3, 200, (0..30).map(cell).collect())
}

fn is_swept(info: &CellInfo, parameter: SweptParameter) -> bool {
    info.cell.swept_parameter == parameter
}

fn with_issues() -> Run {
    let mut run = synthetic::sweep(2, 40);
    run.cells
        .iter_mut()
        .filter(|info| is_swept(info, SweptParameter::Loss) || info.cell.repetition == 2)
        .for_each(|cell| cell.verdict = Verdict::Unverified);
    run.cells.iter_mut().filter(|info| info.cell.magnitude > 1.0).for_each(|cell| cell.overloaded = true);
    run
}

fn without_successes() -> Run {
    let mut run = synthetic::sweep(5, 30);
    for row in run
        .samples
        .iter_mut()
        .filter(|row| row.labels.condition == SweptParameter::Rate && row.labels.value != "500kbit")
    {
        row.sample.outcome = Outcome::ConnectFailed;
    }
    run.samples.retain(|row| row.labels.value != "500kbit");
    run
}

#[test]
fn labels_are_inside_the_graph_and_do_not_overlap() {
    check_labels("sweep", &synthetic::sweep(1, 300));
    check_labels("repeated", &synthetic::repeated_sweep(1, 100, 6));
    check_labels("issues", &with_issues());
    check_labels("many values", &many_values());
    check_labels("no successes", &without_successes());
}

#[test]
fn graphs_have_titles_units_and_legends() {
    let run = synthetic::sweep(1, 300);
    let by_operation = scene(&run, "rate-latency-by-operation");
    let labels = texts(&by_operation);
    for expected in
        ["view products", "place order", "up to p95", "Link rate (kbit/s)", "baseline", "1000", "500", "100"]
    {
        assert!(labels.contains(&expected), "'{expected}' is not among {labels:?}");
    }
    assert!(labels.contains(&"Median latency of an operation (ms), log scale"), "{labels:?}");
    assert!(labels.iter().any(|text| text.contains("run 20250301-101500-loss-and-rate")), "{labels:?}");
    let ecdf = scene(&run, "loss-ecdf");
    assert!(texts(&ecdf).contains(&"0 % (baseline)"), "{:?}", texts(&ecdf));
}

#[test]
fn the_absence_of_errors_is_stated() {
    let run = synthetic::sweep(1, 300);
    let graph = scene(&run, "delay-errors");
    assert!(texts(&graph).contains(&"no errors in 1800 operations"), "{:?}", texts(&graph));
    assert!(!texts(&scene(&run, "loss-errors")).iter().any(|text| text.starts_with("no errors in")));
}

#[test]
fn issues_are_shown_and_explained() {
    let run = with_issues();
    let graph = scene(&run, "loss-rtt");
    assert!(texts(&graph).contains(&"unverified, overloaded"), "{:?}", texts(&graph));
    assert_eq!(texts(&graph).iter().filter(|text| **text == "unverified").count(), 3);
    let mut all = run.clone();
    for (cell, verdict) in all.cells.iter_mut().zip([Verdict::Failed, Verdict::Interrupted, Verdict::Unverified]) {
        (cell.verdict, cell.stalled) = (verdict, true);
    }
    check_labels("all issues", &all);
    let graph = scene(&all, "loss-rtt");
    for text in ["1 of 2 failed", "1 of 2 interrupted", "unverified, failed, interrupted, overloaded, server stalled"] {
        assert!(texts(&graph).contains(&text), "'{text}' is not among {:?}", texts(&graph));
    }
    let verified = scene(&synthetic::sweep(1, 40), "loss-rtt");
    assert!(!texts(&verified).iter().any(|text| text.contains("unverified")));
}

#[test]
fn a_percentile_of_few_values_is_not_drawn() {
    let few = texts(&scene(&synthetic::sweep(1, 40), "delay-latency")).join("|");
    assert!(few.contains("p95 (where n ≥ 200)") && few.contains("p99 (where n ≥ 1000)"), "{few}");
    let many = texts(&scene(&synthetic::sweep(1, 500), "delay-latency")).join("|");
    assert!(many.contains("p99") && !many.contains("where"), "{many}");
}

#[test]
fn what_did_not_succeed_leaves_a_gap() {
    let mut run = synthetic::sweep(1, 40);
    run.samples.retain(|row| row.labels.condition == SweptParameter::Rate);
    run.cells.retain(|info| is_swept(info, SweptParameter::Rate));
    let fills = |run: &Run| {
        let scene = scene(run, "rate-latency");
        scene.shapes.iter().filter(|shape| matches!(shape, Shape::Fill(..))).count()
    };
    let all = fills(&run);
    for row in run.samples.iter_mut().filter(|row| row.labels.value == "500kbit") {
        row.sample.outcome = Outcome::Reset;
    }
    // Median and mean of one value (80 are too few for a p95); each marker is a rim and its filling.
    assert_eq!(all - fills(&run), 4);
    run.samples.iter_mut().for_each(|row| row.sample.outcome = Outcome::Timeout);
    assert!(texts(&scene(&run, "rate-ecdf")).contains(&"no successful operations"));
    assert!(texts(&scene(&run, "rate-latency")).contains(&"no successful operations"));
    assert!(texts(&scene(&run, "rate-breakdown")).contains(&"no successful operations"));
}

#[test]
fn whiskers_are_confidence_intervals_from_five_repetitions_on() {
    let (p95, interval) = ("up to p95", "95 % CI over repetitions");
    let has_entries = |repetitions: u32, name: &str| -> [bool; 2] {
        let scene = scene(&synthetic::repeated_sweep(1, 300, repetitions), name);
        [p95, interval].map(|text| texts(&scene).contains(&text))
    };
    assert_eq!(has_entries(4, "delay-latency-by-operation"), [true, false]);
    assert_eq!(has_entries(5, "delay-latency-by-operation"), [false, true]);
    assert_eq!([has_entries(4, "delay-latency"), has_entries(5, "delay-latency")], [[false, false], [false, true]]);
    assert_eq!(has_entries(5, "overview"), [false, true]);
}

#[test]
fn an_interval_without_an_upper_bound_is_labelled() {
    let mut run = synthetic::repeated_sweep(1, 150, 6);
    assert!(!texts(&scene(&run, "delay-latency")).contains(&"no upper bound"));
    // The 95th percentile depends on one repetition.
    for row in run.samples.iter_mut().filter(|row| row.labels.cell == "delay-50ms-r2") {
        row.sample.latency_ms += 10_000.0;
    }
    assert!(texts(&scene(&run, "delay-latency")).contains(&"no upper bound"));
    check_labels("no upper bound", &run);
}

#[test]
fn overload_has_its_own_label() {
    let mut run = synthetic::sweep(1, 40);
    run.cells.iter_mut().filter(|info| info.cell.value == "2%").for_each(|cell| cell.overloaded = true);
    let only = scene(&run, "loss-rtt");
    assert_eq!(texts(&only).iter().filter(|text| **text == "overloaded").count(), 2, "{:?}", texts(&only));
    run.cells.iter_mut().filter(|info| info.cell.value == "2%").for_each(|cell| cell.verdict = Verdict::Unverified);
    let both = scene(&run, "loss-rtt");
    for text in ["unverified, overloaded", "unverified", "overloaded"] {
        assert!(texts(&both).contains(&text), "'{text}' is not among {:?}", texts(&both));
    }
}

#[test]
fn every_operation_has_a_panel_in_the_latency_breakdown() {
    let run = synthetic::sweep(1, 300);
    let graph = scene(&run, "rate-breakdown");
    for (operation, _, _) in synthetic::OPERATIONS {
        assert!(texts(&graph).contains(&operation.replace('_', " ").as_str()), "{operation} in {:?}", texts(&graph));
    }
    // A bar of several components in each of seven panels for four values, and the legend's eight keys.
    let fills = graph.shapes.iter().filter(|shape| matches!(shape, Shape::Fill(..))).count();
    assert!(fills > 8 + 7 * 4 * 3, "{fills}");
    let few = scene(&synthetic::sweep(1, 40), "rate-breakdown-slowest");
    assert!(texts(&few).contains(&"fewer than 200 operations"), "{:?}", texts(&few));
}

#[test]
fn a_run_without_listed_samples_has_no_graphs() {
    let mut run = synthetic::sweep(4, 50);
    run.cells.clear();
    let refused = lay_out(Fonts::load().unwrap(), run.analyse(1).run(), &title());
    assert!(matches!(refused, Err(GraphError::NoSamples { cells: 0, samples: 900 })));
}

#[test]
fn samples_of_unlisted_cells_are_reported() {
    let mut run = synthetic::sweep(1, 40);
    run.cells.retain(|info| !is_swept(info, SweptParameter::Delay));
    let labels = texts(&scene(&run, "overview")).join("|");
    assert!(labels.contains("240 samples of unlisted cells ignored"), "{labels}");
}
