//! The driver with backend netns: real nodes, sockets and packets.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the failure")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use common::{
    Finished, RunFiles, Running, assert_same_choices, finish, lives, netns, netns_as_root, testbed, wait_until_gone,
};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use test_support::{run, test};

fn main() -> ExitCode {
    let tests = [
        test!(a_client_that_hangs_fails_its_cell_and_is_recreated).needs(&[netns]).shared(),
        test!(a_sweep_is_verified_and_reported_and_leaves_no_stale_resources).needs(&[netns]).shared(),
        test!(a_server_that_is_killed_fails_its_cell_and_the_run_continues).needs(&[netns]).shared(),
        test!(a_cell_with_delayed_commits_is_marked_as_stalled_by_the_server).needs(&[netns_as_root]).shared(),
        test!(ctrl_c_saves_and_reports_the_measured_cells).needs(&[netns]).shared(),
        test!(after_kill_9_no_process_is_left_and_clean_removes_the_directory).needs(&[netns]).shared(),
        test!(the_same_seed_leads_to_the_same_choices).needs(&[netns]).shared(),
        test!(each_round_trip_of_tls_costs_the_delay).needs(&[netns]).shared(),
        test!(tcset_is_rejected_before_the_first_cell_if_its_programs_are_not_installed).needs(&[netns]),
        test!(invalid_usage_is_rejected_with_the_accepted_form),
        test!(a_dry_run_prints_the_plan_and_does_nothing),
    ];
    // In parallel: the tests mostly wait.
    run(4, tests)
}

const SHORT: &str = "run --backend netns --emulator shaper --clients 2 --think-time 20ms --warm-up 0s";

/// Cells long enough for a test to interfere with the second one.
const INTERFERED: &str = "--duration 3s --delay 0,20ms,30ms";

/// Returns the arguments of a short run, with additional ones.
fn short(additional: &'static str) -> Vec<&'static str> {
    SHORT.split(' ').chain(additional.split(' ')).collect()
}

fn verdicts(run: &RunFiles) -> Vec<(String, String)> {
    run.csv("cells.csv")
        .into_iter()
        .map(|mut row| (row.remove("cell").unwrap(), row.remove("verdict").unwrap()))
        .collect()
}

fn a_sweep_is_verified_and_reported_and_leaves_no_stale_resources() {
    let finished = finish(&short("--duration 1s --loss 10% --delay 0,40ms --rate 500kbit --seed 1"));
    finished.assert_verified();
    let run = finished.run();
    for (cell, verdict) in verdicts(&run) {
        assert_eq!(verdict, "verified", "{cell}: {}", finished.printed());
    }
    run.assert_has_delay("delay-40ms-r1", 40.0);
    // 6 kB take about 100 ms.
    assert!(run.min_rtt_ms("rate-500kbit-r1", "view_products") > 20.0, "a page takes long at 500 kbit/s");
    let is_slow =
        |row: &BTreeMap<String, String>| row["latency_ms"].parse::<f64>().is_ok_and(|latency| latency > 190.0);
    let rows = run.csv("samples.csv");
    let has_retransmission = rows.iter().any(|row| row["cell"] == "loss-10%-r1" && is_slow(row));
    assert!(has_retransmission, "a lost packet costs a retransmission timeout");
    assert_eq!(run.manifest()["order_check"]["consistent"], true);
    assert_eq!(run.manifest()["status"], "completed");
    check_orders(&run);
    check_log(&finished, &run);
    check_graphs(&run);
    check_report_is_identical(&finished, &run);
    assert!(!finished.temporary_directory().exists());
}

/// Checks that every acknowledged order is stored.
fn check_orders(run: &RunFiles) {
    let rows = run.csv("samples.csv");
    let is_acknowledged = |row: &&BTreeMap<String, String>| row["operation"] == "place_order" && row["outcome"] == "ok";
    let acknowledged = rows.iter().filter(is_acknowledged).count() as u64;
    let order_check = &run.manifest()["order_check"];
    assert!(acknowledged > 0);
    assert_eq!(order_check["acknowledged"].as_u64(), Some(acknowledged));
    assert!(order_check["stored"].as_u64().unwrap() >= acknowledged, "{order_check}");
}

/// Checks that the log contains every step with its time, and every printed line unchanged.
fn check_log(finished: &Finished, run: &RunFiles) {
    let log = fs::read_to_string(run.results.join("logs/driver.log")).unwrap();
    for step in [
        "DEBUG server and 2 clients started after",
        "DEBUG environment 1 started",
        "DEBUG cell delay-40ms-r1: condition set: delay 40ms",
        "DEBUG cell delay-40ms-r1: before: probe: ",
        "DEBUG cell delay-40ms-r1: after: readback: ",
        "DEBUG environment 1: all nodes removed",
        &format!("DEBUG removed directory {}", finished.temporary_directory().display()),
    ] {
        assert!(log.lines().any(|line| line.starts_with("20") && line.contains(step)), "no '{step}' in\n{log}");
    }
    let stderr = String::from_utf8_lossy(&finished.output.stderr);
    let cells: Vec<&str> = stderr.lines().filter(|line| line.contains("/4 ")).collect();
    assert!(cells.len() == 4 && cells[0].starts_with("1/4 loss 10 %: measured "), "{stderr}");
    for line in cells {
        assert!(log.contains(&format!("  INFO {line}\n")), "no '{line}' in\n{log}");
    }
    assert!(!stderr.contains("condition set"), "{stderr}");
}

fn check_graphs(run: &RunFiles) {
    for condition in ["loss", "delay", "rate"] {
        for graph in ["latency-by-operation", "latency", "rtt", "ecdf", "errors"] {
            let png = fs::read(run.graphs.join(format!("{condition}-{graph}.png"))).unwrap();
            assert!(png.starts_with(b"\x89PNG") && png.len() > 5_000, "{condition}-{graph}.png");
            let svg = fs::read_to_string(run.graphs.join(format!("{condition}-{graph}.svg"))).unwrap();
            assert!(svg.contains("</svg>"), "{condition}-{graph}.svg");
        }
    }
}

/// Checks that summary, table and graphs can be regenerated from the results directory alone.
fn check_report_is_identical(finished: &Finished, run: &RunFiles) {
    let summary = fs::read(run.results.join("summary.csv")).unwrap();
    fs::remove_file(run.results.join("summary.csv")).unwrap();
    let directory = run.results.to_str().unwrap();
    let report = testbed(finished.directory.path(), &["report", directory, "--graphs", "other"]).output().unwrap();
    assert!(report.status.success());
    assert_eq!(report.stdout, finished.output.stdout, "the table is the same");
    assert_eq!(fs::read(run.results.join("summary.csv")).unwrap(), summary);
    let name = "delay-latency.svg";
    let regenerated = fs::read(finished.directory.path().join("other").join(&run.id).join(name)).unwrap();
    assert_eq!(regenerated, fs::read(run.graphs.join(name)).unwrap());
}

fn a_cell_with_delayed_commits_is_marked_as_stalled_by_the_server() {
    let running = Running::start(&short("--duration 5s --delay 20ms --users 16"));
    let server = running.wait_for_child(&["shop-server", "--config"]);
    running.wait_for_rows("client-1", "delay-20ms-r1");
    // Through the process's root: the tmpfs with the database is mounted only for the driver and its children.
    let directory = running.server_work_dir().strip_prefix("/").unwrap().join("memory");
    let index = std::path::Path::new("/proc").join(server.to_string()).join("root").join(directory).join("shop.db-shm");
    let index = fs::OpenOptions::new().read(true).write(true).open(index).unwrap();
    // The write lock of SQLite's write-ahead log: one byte of its index (sqlite.org/walformat.html).
    let lock = |kind| one_byte(kind, 120);
    let mut times_locked = 0;
    while lives(server) && times_locked < 5 {
        fcntl(&index, FcntlArg::F_SETLKW(&lock(nix::libc::F_WRLCK))).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        fcntl(&index, FcntlArg::F_SETLK(&lock(nix::libc::F_UNLCK))).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        times_locked += 1;
    }
    let finished = running.end();
    assert_eq!(finished.code(), Some(3), "{}", finished.printed());
    let cells = finished.run().csv("cells.csv");
    assert_eq!(cells[0]["verdict"], "verified", "{}", finished.printed());
    assert!(cells[0]["server_stall"].contains("slow server responses account for"), "{}", finished.printed());
    assert!(finished.run().manifest()["database_filesystem"] == "tmpfs");
}

/// Returns a lock of one byte of a file, at `start`.
fn one_byte(kind: nix::libc::c_int, start: i64) -> nix::libc::flock {
    nix::libc::flock { l_type: kind as i16, l_whence: nix::libc::SEEK_SET as i16, l_start: start, l_len: 1, l_pid: 0 }
}

fn ctrl_c_saves_and_reports_the_measured_cells() {
    let mut running = Running::start(&short(INTERFERED));
    running.wait_for_line("1/3 ");
    running.wait_for_child(&["workload", "delay-20ms-r1"]);
    let children = running.children();
    running.signal(Signal::SIGINT);
    let finished = running.end();
    assert_eq!(finished.code(), Some(130), "{}", finished.printed());
    let run = finished.run();
    let verdicts = verdicts(&run);
    assert_eq!(verdicts[0], ("delay-0-r1".to_owned(), "verified".to_owned()));
    assert!(
        verdicts.len() <= 2 && verdicts.iter().skip(1).all(|(_, verdict)| verdict == "interrupted"),
        "{verdicts:?}"
    );
    assert_eq!(run.manifest()["status"], "interrupted");
    let resume = format!("testbed run --resume results/{}", run.id);
    assert!(finished.printed().contains(&resume), "'{resume}' is missing in: {}", finished.printed());
    assert!(run.csv("samples.csv").iter().any(|row| row["cell"] == "delay-0-r1"));
    assert!(run.graphs.join("overview.png").is_file());
    wait_until_gone(&children);
    assert!(!finished.temporary_directory().exists());
}

fn after_kill_9_no_process_is_left_and_clean_removes_the_directory() {
    let mut running = Running::start(&short("--duration 30s --delay 20ms"));
    running.wait_for_line("emulator shaper");
    running.wait_for_child(&["workload"]);
    let children = running.children();
    assert!(children.len() >= 3, "server, shaper, clients: {children:?}");
    running.signal(Signal::SIGKILL);
    let finished = running.end();
    wait_until_gone(&children);
    let directory = finished.temporary_directory();
    assert!(directory.exists(), "a killed driver leaves the directory with its lock");
    let cleaned = testbed(finished.directory.path(), &["clean"]).output().unwrap();
    assert!(cleaned.status.success());
    assert!(!directory.exists());
}

fn a_server_that_is_killed_fails_its_cell_and_the_run_continues() {
    let mut running = Running::start(&short(INTERFERED));
    running.wait_for_line("1/3 ");
    running.wait_for_child(&["workload", "delay-20ms-r1"]);
    let server = running.wait_for_child(&["shop-server", "--config"]);
    kill(server, Signal::SIGKILL).unwrap();
    let finished = running.end();
    assert_eq!(finished.code(), Some(3), "{}", finished.printed());
    let rows = finished.run().csv("cells.csv");
    let verdicts: Vec<&str> = rows.iter().map(|row| row["verdict"].as_str()).collect();
    assert_eq!(verdicts, ["verified", "failed", "verified"], "{}", finished.printed());
    assert!(rows[1]["problems"].contains("server exited with code 137"), "{}", rows[1]["problems"]);
}

fn a_client_that_hangs_fails_its_cell_and_is_recreated() {
    let mut running = Running::start(&short(INTERFERED));
    running.wait_for_line("1/3 ");
    let client = running.wait_for_child(&["workload", "delay-20ms-r1", "client-2"]);
    // Stopped only after it has started to work, as its CSV shows: otherwise the cell fails before.
    running.wait_for_rows("client-2", "delay-20ms-r1");
    kill(client, Signal::SIGSTOP).unwrap();
    let finished = running.end();
    assert_eq!(finished.code(), Some(3), "{}", finished.printed());
    let rows = finished.run().csv("cells.csv");
    let verdicts: Vec<&str> = rows.iter().map(|row| row["verdict"].as_str()).collect();
    assert_eq!(verdicts, ["verified", "failed", "verified"], "{}", finished.printed());
    assert!(rows[1]["problems"].contains("client-2: no event for"), "{}", rows[1]["problems"]);
    assert!(!lives(client));
}

fn the_same_seed_leads_to_the_same_choices() {
    let run = |arguments| finish(&short(arguments)).run().choices();
    let [first, second, other] =
        ["--duration 1s --delay 0 --seed 7", "--duration 1s --delay 0 --seed 7", "--duration 1s --delay 0 --seed 8"]
            .map(run);
    assert_same_choices(&first, &second);
    assert_ne!(first, other);
}

fn each_round_trip_of_tls_costs_the_delay() {
    for (arguments, round_trips) in [
        ("--duration 1s --delay 40ms --connection persistent --accounts prepared --tls", 1),
        ("--duration 1s --delay 40ms --tls=1.2", 2),
    ] {
        let finished = finish(&short(arguments));
        finished.assert_verified();
        let run = finished.run();
        let rows = run.csv("samples.csv");
        let encrypted: Vec<_> = rows.iter().filter(|row| !row["tls_ms"].is_empty()).collect();
        assert!(!encrypted.is_empty(), "{}", finished.printed());
        for row in &encrypted {
            let tls_ms: f64 = row["tls_ms"].parse().unwrap();
            assert_eq!(row["tls_round_trips"], round_trips.to_string());
            assert!(tls_ms >= 39.5 * f64::from(round_trips), "{row:?}");
        }
        assert_eq!(run.manifest()["scenario"]["shop"]["tls"], if round_trips == 1 { "1.3" } else { "1.2" });
        let breakdown = run.csv("breakdown.csv");
        assert!(breakdown.iter().any(|row| row["tls_ms"].parse::<f64>().unwrap() > 0.0));
    }
}

fn tcset_is_rejected_before_the_first_cell_if_its_programs_are_not_installed() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = "run --backend netns --emulator tcset --delay 20ms --duration 1s --clients 1";
    let mut command = testbed(directory.path(), &arguments.split(' ').collect::<Vec<_>>());
    let output = command.env("PATH", directory.path()).output().unwrap();
    let finished = Finished { directory, output };
    assert_eq!(finished.code(), Some(1), "{}", finished.printed());
    let printed = finished.printed();
    assert!(printed.contains("tcset does not work here: ") && printed.contains("iproute2"), "{printed}");
    assert!(finished.run().csv("samples.csv").is_empty());
    assert_eq!(finished.run().manifest()["status"], "failed");
}

fn invalid_usage_is_rejected_with_the_accepted_form() {
    for (arguments, code, expected) in [
        (vec!["run", "--rate", "1Mps"], 2, "1Mps"),
        (vec!["run", "--duration", "30"], 2, "30s"),
        (vec!["run", "--clients", "0"], 2, "'--clients <1..1000>': invalid number '0'"),
        (vec!["run", "--scenario", "none-such"], 2, "none-such"),
        (vec!["report", "none-such"], 2, "manifest.json"),
        (vec!["fly"], 2, "fly"),
    ] {
        let finished = finish(&arguments);
        assert_eq!(finished.code(), Some(code), "{arguments:?}: {}", finished.printed());
        assert!(finished.printed().contains(expected), "{arguments:?}: {}", finished.printed());
        assert!(!finished.directory.path().join("results").exists(), "{arguments:?} left results");
    }
}

fn a_dry_run_prints_the_plan_and_does_nothing() {
    let finished = finish(&["run", "--dry-run", "--repetitions", "2"]);
    let plan = String::from_utf8_lossy(&finished.output.stdout).into_owned();
    assert!(plan.contains("loss-2%-r2") && plan.contains("18 cells"), "{plan}");
    assert!(!finished.directory.path().join("results").exists());
}
