//! Going on with runs that did not get to their end, repeating runs, and measuring cells beside each other.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the failure")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;

use common::{Finished, Rows, RunFiles, Running, finish, needs_netns, testbed};
use nix::sys::signal::Signal;
use serde_json::Value;

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

#[test]
fn a_run_whose_driver_was_killed_is_gone_on_with_where_it_was() {
    needs_netns!();
    let run = "run --engine netns --emulator shaper --clients 2 --duration 3s --delay 0,10ms,20ms --seed 5";
    let mut running = Running::start(&words(run));
    running.wait_for_line("cell 1/3");
    running.wait_for_child(&["workload", "delay-10ms-r1"]);
    running.wait_for_rows("client-1", "delay-10ms-r1");
    running.signal(Signal::SIGKILL);
    let Finished { folder, .. } = running.end();
    let before = RunFiles::only_one_in(folder.path());
    assert_eq!(verdicts(&before.csv("cells.csv")), [("delay-0-r1", "proved")]);
    let first_cell = (before.csv("cells.csv")[0].clone(), samples_by_cell(&before)["delay-0-r1"]);

    let resume = format!("run --resume results/{}", before.id);
    let resumed = again(folder.path(), &resume);
    assert!(matches!(resumed.status.code(), Some(0 | 3)), "{}", stderr(&resumed));
    assert!(stderr(&resumed).contains("2 cells, engine netns"), "{}", stderr(&resumed));
    let after = RunFiles::only_one_in(folder.path());
    let rows = after.csv("cells.csv");
    assert_eq!(verdicts(&rows), [("delay-0-r1", "proved"), ("delay-10ms-r1", "proved"), ("delay-20ms-r1", "proved")]);
    let counts = samples_by_cell(&after);
    assert_eq!((rows[0].clone(), counts["delay-0-r1"]), first_cell, "what was there is left as it was");
    for row in &rows {
        let tried = |column: &str| row[column].parse::<usize>().unwrap();
        let rows = tried("operations") + tried("warm_up_operations");
        assert_eq!(counts[&row["cell"]], rows, "{}: no rows of the part that was killed", row["cell"]);
    }
    let manifest = after.manifest();
    assert_eq!((&manifest["ending"], &manifest["seed"]), (&Value::from("complete"), &Value::from(5)));
    assert_eq!(manifest["earlier_parts"][0]["kept_cells"], serde_json::json!(["delay-0-r1"]));

    let nothing = again(folder.path(), &resume);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(stderr(&nothing).contains("nothing is missing"), "{}", stderr(&nothing));
}

#[test]
fn a_run_that_is_repeated_has_the_same_plan_and_the_same_shoppers() {
    needs_netns!();
    let first = finish(&words(
        "run --engine netns --emulator shaper --clients 2 --duration 2s --delay 0,10ms --loss 5% --repetitions 2",
    ));
    assert!(first.code() == Some(0) || first.code() == Some(3), "{}", first.words());
    let one = first.run();
    let manifest = one.results.join("manifest.json");
    let second = finish(&["run", "--from", manifest.to_str().unwrap()]);
    let (one, other) = (one.manifest(), second.run().manifest());
    for same in ["plan", "order", "seed", "engine", "emulator"] {
        assert_eq!(one[same], other[same], "{same}: {}", second.words());
    }
    assert_ne!(one["run_id"], other["run_id"]);
    let (decided, again) = (decisions(&first.run()), decisions(&second.run()));
    let mut compared = 0;
    for (shopper, operations) in &decided {
        let both: Vec<_> = operations.iter().zip(&again[shopper]).collect();
        assert!(both.iter().all(|(a, b)| a == b), "{shopper:?} decided otherwise");
        compared += both.len();
    }
    assert!(compared > 100, "only {compared} operations to compare");
}

/// What each shopper asked for in each cell, in its order.
fn decisions(run: &RunFiles) -> BTreeMap<(String, String), Vec<(String, String)>> {
    let mut decided: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for row in run.csv("samples.csv") {
        let shopper = (row["cell"].clone(), row["client"].clone());
        // An order's number has as many digits as orders of others came before it.
        let bytes = if row["operation"] == "submit_rating" { String::new() } else { row["request_bytes"].clone() };
        decided.entry(shopper).or_default().push((row["operation"].clone(), bytes));
    }
    decided
}

#[test]
fn what_does_not_fit_an_earlier_run_is_refused() {
    for (text, expected) in [
        ("run --resume nowhere", "manifest.json"),
        ("run --from nowhere.json", "expected the manifest.json of a run"),
        ("run --resume results/x --clients 2", "cannot be used with"),
        ("run --jobs 0", "auto"),
        ("run --until 5%", "ci=PERCENT%"),
        ("run --arrival-rate 200", "/s"),
    ] {
        let finished = finish(&words(text));
        assert!(matches!(finished.code(), Some(1 | 2)), "{text}: {}", finished.words());
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

/// What the intervals may be apart, milliseconds: processors that have more to do sleep less deeply, so cells beside each
/// other are a little quicker than cells one after the other on an idle machine.
const AWAKE_MS: f64 = 0.3;

#[test]
fn cells_beside_each_other_say_the_same_as_cells_one_after_the_other() {
    needs_netns!();
    let run = "run --engine netns --emulator shaper --clients 2 --think-time 20ms --duration 2s --warm-up 300ms \
               --delay 10ms,20ms --repetitions 6 --seed 3";
    let serial = finish(&words(run));
    serial.assert_proved();
    let parallel = finish(&words(&format!("{run} --jobs 4")));
    parallel.assert_proved();
    let (one, beside) = (serial.run(), parallel.run());
    assert_eq!(one.manifest()["most_cells_at_once"], 1);
    let at_once = beside.manifest()["most_cells_at_once"].as_u64().unwrap();
    println!(
        "{at_once} cells at once; one after the other {:?}, beside each other {:?}",
        medians(&one),
        medians(&beside)
    );
    let is_overloaded = |run: &RunFiles| run.csv("cells.csv").iter().any(|row| !row["overload"].is_empty());
    if at_once == 1 || is_overloaded(&one) || is_overloaded(&beside) {
        println!("skipped: this host is too busy for the overload guard");
        return;
    }
    assert_eq!(verdicts(&beside.csv("cells.csv")).len(), 12);
    for (value, (low, high)) in medians(&one) {
        let (other_low, other_high) = medians(&beside)[&value];
        let apart = (low - other_high).max(other_low - high);
        assert!(apart <= AWAKE_MS, "{value}: {low}..{high} and {other_low}..{other_high}");
    }
    let audit = &beside.manifest()["audit"];
    assert!(audit["consistent"] == true && audit["promised"].as_u64() <= audit["orders"].as_u64(), "{audit}");
}

#[test]
fn a_condition_that_is_known_well_enough_is_not_repeated() {
    needs_netns!();
    let run = "run --engine netns --emulator shaper --clients 2 --duration 1s --warm-up 0s --delay 30ms --until ci=20% \
               --repetitions 12";
    let finished = finish(&words(run));
    finished.assert_proved();
    let run = finished.run();
    let (measured, passed_over) = (run.csv("cells.csv").len(), run.manifest()["passed_over"].as_array().unwrap().len());
    assert_eq!(measured + passed_over, 12, "{}", finished.words());
    assert!((5..12).contains(&measured), "five at least, and fewer than all: {measured}");
    let (low, high) = medians(&run)["30ms"];
    assert!((high - low) / 2.0 <= 0.2 * f64::midpoint(low, high), "{low}..{high}");
}
