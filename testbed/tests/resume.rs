//! Resuming and repeating runs, cells in parallel, and the stopping rule.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the failure")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{ExitCode, Output};

use common::{EARLY_MS, Finished, Rows, RunFiles, Running, assert_same_decisions, finish, netns, testbed};
use nix::sys::signal::Signal;
use serde_json::Value;
use test_support::{run, test};

fn main() -> ExitCode {
    let tests = [
        test!(parallel_cells_measure_the_same_medians_as_sequential_cells)
            .needs(&[netns])
            .exclusive()
            .on_request("compares times, so it needs an idle host"),
        test!(a_run_whose_driver_was_killed_is_gone_on_with_where_it_was).needs(&[netns]).shared(),
        test!(a_run_that_is_repeated_in_parallel_has_the_same_plan_and_the_same_shoppers).needs(&[netns]).shared(),
        test!(a_condition_that_is_known_well_enough_is_not_repeated).needs(&[netns]).shared(),
        test!(what_does_not_fit_an_earlier_run_is_refused),
    ];
    run(4, tests)
}

fn words(text: &str) -> Vec<&str> {
    text.split(' ').collect()
}

/// Runs the driver in a folder where it ran before.
fn again(folder: &Path, text: &str) -> Output {
    testbed(folder, &words(text)).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn verdicts(rows: &Rows) -> Vec<(&str, &str)> {
    rows.iter().map(|row| (row["cell"].as_str(), row["verdict"].as_str())).collect()
}

/// How many samples each cell has.
fn samples_by_cell(run: &RunFiles) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for row in run.csv("samples.csv") {
        *counts.entry(row["cell"].clone()).or_default() += 1;
    }
    counts
}

fn a_run_whose_driver_was_killed_is_gone_on_with_where_it_was() {
    let run = "run --backend netns --emulator shaper --clients 2 --think-time 20ms --duration 2s --warm-up 200ms \
               --delay 0,10ms,20ms --seed 5";
    let mut running = Running::start(&words(run));
    running.wait_for_line("1/3 ");
    running.wait_for_child(&["workload", "delay-10ms-r1"]);
    running.wait_for_rows("client-1", "delay-10ms-r1");
    running.signal(Signal::SIGKILL);
    let Finished { folder, .. } = running.end();
    let before = RunFiles::only_one_in(folder.path());
    assert_eq!(verdicts(&before.csv("cells.csv")), [("delay-0-r1", "verified")]);
    let first_cell = (before.csv("cells.csv")[0].clone(), samples_by_cell(&before)["delay-0-r1"]);

    let resume = format!("run --resume results/{}", before.id);
    let resumed = again(folder.path(), &resume);
    assert!(matches!(resumed.status.code(), Some(0 | 3)), "{}", stderr(&resumed));
    assert!(stderr(&resumed).contains("2 cells\nengine netns\n"), "{}", stderr(&resumed));
    let after = RunFiles::only_one_in(folder.path());
    let rows = after.csv("cells.csv");
    assert_eq!(
        verdicts(&rows),
        [("delay-0-r1", "verified"), ("delay-10ms-r1", "verified"), ("delay-20ms-r1", "verified")]
    );
    let counts = samples_by_cell(&after);
    assert_eq!((rows[0].clone(), counts["delay-0-r1"]), first_cell, "what was there is left as it was");
    for row in &rows {
        let tried = |column: &str| row[column].parse::<usize>().unwrap();
        let rows = tried("operations") + tried("warm_up_operations");
        assert_eq!(counts[&row["cell"]], rows, "{}: no rows of the part that was killed", row["cell"]);
    }
    let manifest = after.manifest();
    assert_eq!((&manifest["status"], &manifest["seed"]), (&Value::from("completed"), &Value::from(5)));
    assert_eq!(manifest["previous_attempts"][0]["kept_cells"], serde_json::json!(["delay-0-r1"]));

    let nothing = again(folder.path(), &resume);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(stderr(&nothing).contains("nothing is missing"), "{}", stderr(&nothing));
}

fn a_run_that_is_repeated_in_parallel_has_the_same_plan_and_the_same_shoppers() {
    let first = finish(&words(
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
    // A busy host gets one cell at a time; the gate's own tests say that an idle one gets more.
    assert!((1..=4).contains(&other.manifest()["max_parallel_cells"].as_u64().unwrap()), "{}", second.words());
    for same in ["plan", "order", "seed", "backend", "emulator"] {
        assert_eq!(one.manifest()[same], other.manifest()[same], "{same}: {}", second.words());
    }
    assert_ne!(one.id, other.id);
    assert_same_decisions(&one.decisions(), &other.decisions());
    assert_every_round_trip_has_its_delay(&other);
    let order_check = &other.manifest()["order_check"];
    assert!(
        order_check["consistent"] == true && order_check["acknowledged"].as_u64() <= order_check["stored"].as_u64(),
        "{order_check}"
    );
}

/// The link of a cell in parallel is no other cell's: none is quicker than its delay. A slow host only adds.
fn assert_every_round_trip_has_its_delay(run: &RunFiles) {
    let mut looked_at = 0;
    for row in run.csv("samples.csv").iter().filter(|row| row["condition"] == "delay" && !row["rtt_ms"].is_empty()) {
        let delay: f64 = row["value"].trim_end_matches("ms").parse().unwrap();
        assert!(row["rtt_ms"].parse::<f64>().unwrap() > delay - EARLY_MS, "{row:?}");
        looked_at += 1;
    }
    assert!(looked_at > 20, "only {looked_at} round trips");
}

fn what_does_not_fit_an_earlier_run_is_refused() {
    for (text, expected) in [
        ("run --resume nowhere", "manifest.json"),
        ("run --repeat nowhere.json", "expected the manifest.json of a run"),
        ("run --resume results/x --clients 2", "cannot be used with"),
        ("run --jobs 0", "auto"),
        ("run --until 5%", "ci=PERCENT%"),
        ("run --arrival-rate 200", "/s"),
    ] {
        let finished = finish(&words(text));
        assert!(matches!(finished.code(), Some(2)), "{text}: {}", finished.words());
        assert!(finished.words().contains(expected), "{text}: {}", finished.words());
    }
}

/// The interval of the median latency of all operations, by the value of the delay; one may be open above.
fn medians(run: &RunFiles) -> BTreeMap<String, (f64, f64)> {
    let is_wanted = |row: &&BTreeMap<String, String>| {
        (row["condition"].as_str(), row["operation"].as_str(), row["metric"].as_str(), row["statistic"].as_str())
            == ("delay", "all", "latency", "p50")
    };
    let number = |row: &BTreeMap<String, String>, column: &str| match row[column].as_str() {
        "" if column == "high" => f64::INFINITY,
        text => text.parse().unwrap_or_else(|_| panic!("no {column} in {row:?}")),
    };
    let rows = run.csv("intervals.csv");
    rows.iter().filter(is_wanted).map(|row| (row["value"].clone(), (number(row, "low"), number(row, "high")))).collect()
}

/// What the intervals may be apart, milliseconds: processors that have more to do sleep less deeply, so cells in
/// parallel are a little quicker than sequential cells on an idle host.
const AWAKE_MS: f64 = 0.3;

fn parallel_cells_measure_the_same_medians_as_sequential_cells() {
    let run = "run --backend netns --emulator shaper --clients 2 --think-time 20ms --duration 2s --warm-up 300ms \
               --delay 10ms,20ms --repetitions 6 --seed 3";
    let sequential = finish(&words(run));
    let parallel = finish(&words(&format!("{run} --jobs 4")));
    for finished in [&sequential, &parallel] {
        assert_eq!(finished.code(), Some(0), "all cells verified on an idle host: {}", finished.words());
    }
    let (one, other) = (sequential.run(), parallel.run());
    assert!(other.manifest()["max_parallel_cells"].as_u64() > Some(1), "{}", parallel.words());
    for (value, (low, high)) in medians(&one) {
        let (other_low, other_high) = medians(&other)[&value];
        let apart = (low - other_high).max(other_low - high);
        assert!(apart <= AWAKE_MS, "{value}: {low}..{high} and {other_low}..{other_high}");
    }
}

fn a_condition_that_is_known_well_enough_is_not_repeated() {
    let run = "run --backend netns --emulator shaper --clients 2 --think-time 20ms --duration 1s --warm-up 0s --delay 30ms \
               --until ci=50% --repetitions 12";
    let finished = finish(&words(run));
    finished.assert_verified();
    let run = finished.run();
    let (measured, skipped_cells) =
        (run.csv("cells.csv").len(), run.manifest()["skipped_cells"].as_array().unwrap().len());
    assert_eq!(measured + skipped_cells, 12, "{}", finished.words());
    assert!((5..12).contains(&measured), "five at least, and fewer than all: {measured}");
    let (low, high) = medians(&run)["30ms"];
    assert!((high - low) / 2.0 <= 0.5 * f64::midpoint(low, high), "{low}..{high}");
}
