//! Resuming and repeating runs, cells in parallel, and the stopping rule.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the failure")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{ExitCode, Output};

use common::{Finished, RTT_TOLERANCE_MS, Rows, RunFiles, Running, assert_same_choices, finish, netns, testbed};
use nix::sys::signal::Signal;
use serde_json::Value;
use test_support::{run, test};

fn main() -> ExitCode {
    let tests = [
        test!(parallel_cells_measure_the_same_medians_as_sequential_cells)
            .needs(&[netns])
            .exclusive()
            .on_request("compares times, so it needs an idle host"),
        test!(a_run_whose_driver_was_killed_is_resumed_with_the_missing_cells).needs(&[netns]).shared(),
        test!(a_run_repeated_in_parallel_has_the_same_plan_and_the_same_choices).needs(&[netns]).shared(),
        test!(the_stopping_rule_skips_further_repetitions).needs(&[netns]).shared(),
        test!(flags_that_conflict_with_the_run_to_resume_are_rejected),
    ];
    run(4, tests)
}

fn split(text: &str) -> Vec<&str> {
    text.split(' ').collect()
}

/// Runs the driver in a directory where it has already run.
fn run_in(directory: &Path, text: &str) -> Output {
    testbed(directory, &split(text)).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn verdicts(rows: &Rows) -> Vec<(&str, &str)> {
    rows.iter().map(|row| (row["cell"].as_str(), row["verdict"].as_str())).collect()
}

/// Returns the number of samples of each cell.
fn samples_by_cell(run: &RunFiles) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for row in run.csv("samples.csv") {
        *counts.entry(row["cell"].clone()).or_default() += 1;
    }
    counts
}

fn a_run_whose_driver_was_killed_is_resumed_with_the_missing_cells() {
    let run = "run --backend netns --emulator shaper --clients 2 --think-time 20ms --duration 2s --warm-up 200ms \
               --delay 0,10ms,20ms --seed 5";
    let mut running = Running::start(&split(run));
    running.wait_for_line("1/3 ");
    running.wait_for_child(&["workload", "delay-10ms-r1"]);
    running.wait_for_rows("client-1", "delay-10ms-r1");
    running.signal(Signal::SIGKILL);
    let Finished { directory, .. } = running.end();
    let before = RunFiles::only_one_in(directory.path());
    assert_eq!(verdicts(&before.csv("cells.csv")), [("delay-0-r1", "verified")]);
    let first_cell = (before.csv("cells.csv")[0].clone(), samples_by_cell(&before)["delay-0-r1"]);

    let resume = format!("run --resume results/{}", before.id);
    let resumed = run_in(directory.path(), &resume);
    assert!(matches!(resumed.status.code(), Some(0 | 3)), "{}", stderr(&resumed));
    assert!(stderr(&resumed).contains("2 cells\nbackend netns\n"), "{}", stderr(&resumed));
    let after = RunFiles::only_one_in(directory.path());
    let rows = after.csv("cells.csv");
    assert_eq!(
        verdicts(&rows),
        [("delay-0-r1", "verified"), ("delay-10ms-r1", "verified"), ("delay-20ms-r1", "verified")]
    );
    let counts = samples_by_cell(&after);
    assert_eq!((rows[0].clone(), counts["delay-0-r1"]), first_cell, "kept results are unchanged");
    for row in &rows {
        let count = |column: &str| row[column].parse::<usize>().unwrap();
        let rows = count("operations") + count("warm_up_operations");
        assert_eq!(counts[&row["cell"]], rows, "{}: no rows of the killed attempt", row["cell"]);
    }
    let manifest = after.manifest();
    assert_eq!((&manifest["status"], &manifest["seed"]), (&Value::from("completed"), &Value::from(5)));
    assert_eq!(manifest["previous_attempts"][0]["kept_cells"], serde_json::json!(["delay-0-r1"]));

    let complete = run_in(directory.path(), &resume);
    assert_eq!(complete.status.code(), Some(2));
    assert!(stderr(&complete).contains("no cell is missing"), "{}", stderr(&complete));
}

fn a_run_repeated_in_parallel_has_the_same_plan_and_the_same_choices() {
    let first = finish(&split(
        "run --backend netns --emulator shaper --clients 2 --think-time 20ms --duration 1s --warm-up 200ms \
         --delay 10ms,20ms --loss 5% --repetitions 2",
    ));
    first.assert_verified();
    let one = first.run();
    assert_eq!(one.manifest()["max_parallel_cells"], 1);
    let manifest = one.results.join("manifest.json");
    let second = finish(&["run", "--repeat", manifest.to_str().unwrap(), "--jobs", "4"]);
    second.assert_verified();
    let other = second.run();
    // A loaded host runs one cell at a time; the tests of admission control cover an idle one.
    assert!((1..=4).contains(&other.manifest()["max_parallel_cells"].as_u64().unwrap()), "{}", second.printed());
    for key in ["plan", "order", "seed", "backend", "emulator"] {
        assert_eq!(one.manifest()[key], other.manifest()[key], "{key}: {}", second.printed());
    }
    assert_ne!(one.id, other.id);
    assert_same_choices(&one.choices(), &other.choices());
    assert_every_rtt_has_its_delay(&other);
    let order_check = &other.manifest()["order_check"];
    assert!(
        order_check["consistent"] == true && order_check["acknowledged"].as_u64() <= order_check["stored"].as_u64(),
        "{order_check}"
    );
}

/// Asserts that each parallel cell has its own link: no RTT is below the cell's delay. A slow host only adds to an RTT.
fn assert_every_rtt_has_its_delay(run: &RunFiles) {
    let mut checked = 0;
    for row in run.csv("samples.csv").iter().filter(|row| row["condition"] == "delay" && !row["rtt_ms"].is_empty()) {
        let delay: f64 = row["value"].trim_end_matches("ms").parse().unwrap();
        assert!(row["rtt_ms"].parse::<f64>().unwrap() > delay - RTT_TOLERANCE_MS, "{row:?}");
        checked += 1;
    }
    assert!(checked > 20, "only {checked} RTTs");
}

fn flags_that_conflict_with_the_run_to_resume_are_rejected() {
    for (text, expected) in [
        ("run --resume nowhere", "manifest.json"),
        ("run --repeat nowhere.json", "expected the manifest.json of a run"),
        ("run --resume results/x --clients 2", "cannot be used with"),
        ("run --jobs 0", "auto"),
        ("run --until 5%", "ci=PERCENT%"),
        ("run --arrival-rate 200", "/s"),
    ] {
        let finished = finish(&split(text));
        assert!(matches!(finished.code(), Some(2)), "{text}: {}", finished.printed());
        assert!(finished.printed().contains(expected), "{text}: {}", finished.printed());
    }
}

/// Returns the confidence interval of the median latency of all operations, by the value of the delay. The upper bound
/// may be missing.
fn medians(run: &RunFiles) -> BTreeMap<String, (f64, f64)> {
    let is_median_latency = |row: &&BTreeMap<String, String>| {
        (row["condition"].as_str(), row["operation"].as_str(), row["metric"].as_str(), row["statistic"].as_str())
            == ("delay", "all", "latency", "p50")
    };
    let number = |row: &BTreeMap<String, String>, column: &str| match row[column].as_str() {
        "" if column == "high" => f64::INFINITY,
        text => text.parse().unwrap_or_else(|_| panic!("no {column} in {row:?}")),
    };
    let rows = run.csv("intervals.csv");
    let medians = rows.iter().filter(is_median_latency);
    medians.map(|row| (row["value"].clone(), (number(row, "low"), number(row, "high")))).collect()
}

/// Allowed distance of the intervals, milliseconds: loaded CPUs use less deep sleep states, so parallel cells have
/// slightly lower latencies than sequential cells on an idle host.
const INTERVAL_TOLERANCE_MS: f64 = 0.3;

fn parallel_cells_measure_the_same_medians_as_sequential_cells() {
    let run = "run --backend netns --emulator shaper --clients 2 --think-time 20ms --duration 2s --warm-up 300ms \
               --delay 10ms,20ms --repetitions 6 --seed 3";
    let sequential = finish(&split(run));
    let parallel = finish(&split(&format!("{run} --jobs 4")));
    for finished in [&sequential, &parallel] {
        assert_eq!(finished.code(), Some(0), "all cells verified on an idle host: {}", finished.printed());
    }
    let (one, other) = (sequential.run(), parallel.run());
    assert!(other.manifest()["max_parallel_cells"].as_u64() > Some(1), "{}", parallel.printed());
    for (value, (low, high)) in medians(&one) {
        let (other_low, other_high) = medians(&other)[&value];
        let distance = (low - other_high).max(other_low - high);
        assert!(distance <= INTERVAL_TOLERANCE_MS, "{value}: {low}..{high} and {other_low}..{other_high}");
    }
}

fn the_stopping_rule_skips_further_repetitions() {
    let run = "run --backend netns --emulator shaper --clients 2 --think-time 20ms --duration 1s --warm-up 0s \
               --delay 30ms --until ci=50% --repetitions 12";
    let finished = finish(&split(run));
    finished.assert_verified();
    let run = finished.run();
    let (measured, skipped_cells) =
        (run.csv("cells.csv").len(), run.manifest()["skipped_cells"].as_array().unwrap().len());
    assert_eq!(measured + skipped_cells, 12, "{}", finished.printed());
    assert!((5..12).contains(&measured), "expected 5 to 11 cells, got {measured}");
    let (low, high) = medians(&run)["30ms"];
    assert!((high - low) / 2.0 <= 0.5 * f64::midpoint(low, high), "{low}..{high}");
}
