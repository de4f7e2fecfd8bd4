//! The driver on namespaces, with real nodes, sockets and packets.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the failure")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use common::{
    Finished, RunFiles, Running, assert_same_decisions, finish, lives, netns, netns_as_root, testbed, wait_until_gone,
};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use test_support::{run, test};

fn main() -> ExitCode {
    let tests = [
        test!(a_client_that_hangs_marks_its_cell_and_is_renewed).needs(&[netns]).shared(),
        test!(a_sweep_is_measured_verified_drawn_and_leaves_nothing_behind).needs(&[netns]).shared(),
        test!(a_server_that_dies_marks_its_cell_and_the_run_goes_on).needs(&[netns]).shared(),
        test!(a_cell_whose_commits_were_held_up_is_marked_as_stalled_by_the_server).needs(&[netns_as_root]).shared(),
        test!(ctrl_c_saves_and_draws_what_was_measured).needs(&[netns]).shared(),
        test!(after_kill_9_no_process_is_left_and_clean_removes_the_folder).needs(&[netns]).shared(),
        test!(the_same_seed_makes_the_same_decisions).needs(&[netns]).shared(),
        test!(tcset_is_refused_before_the_run_where_its_programs_are_not_installed).needs(&[netns]),
        test!(wrong_usage_is_told_with_the_accepted_form),
        test!(a_dry_run_prints_the_plan_and_does_nothing),
    ];
    // They wait most of the time.
    run(4, tests)
}

const SHORT: &str = "run --backend netns --emulator shaper --clients 2 --think-time 20ms --warm-up 0s";

/// Cells long enough for a test to interfere with the second one.
const INTERFERED: &str = "--duration 3s --delay 0,20ms,30ms";

/// The arguments of a short run, and more.
fn short(more: &'static str) -> Vec<&'static str> {
    SHORT.split(' ').chain(more.split(' ')).collect()
}

fn verdicts(run: &RunFiles) -> Vec<(String, String)> {
    run.csv("cells.csv")
        .into_iter()
        .map(|mut row| (row.remove("cell").unwrap(), row.remove("verdict").unwrap()))
        .collect()
}

fn a_sweep_is_measured_verified_drawn_and_leaves_nothing_behind() {
    let finished = finish(&short("--duration 1s --loss 10% --delay 0,40ms --rate 500kbit --seed 1"));
    finished.assert_verified();
    let run = finished.run();
    for (cell, verdict) in verdicts(&run) {
        assert_eq!(verdict, "verified", "{cell}: {}", finished.words());
    }
    run.assert_has_delay("delay-40ms-r1", 40.0);
    // 6 kB take about 100 ms.
    assert!(run.fastest_ms("rate-500kbit-r1", "view_products") > 20.0, "a page takes long at 500 kbit/s");
    let is_slow =
        |row: &BTreeMap<String, String>| row["latency_ms"].parse::<f64>().is_ok_and(|latency| latency > 190.0);
    let rows = run.csv("samples.csv");
    let loss_candidates = rows.iter().any(|row| row["cell"] == "loss-10%-r1" && is_slow(row));
    assert!(loss_candidates, "a lost packet costs a retransmission timeout");
    assert_eq!(run.manifest()["order_check"]["consistent"], true);
    assert_eq!(run.manifest()["status"], "completed");
    check_books(&run);
    check_log(&finished, &run);
    check_pictures(&run);
    check_report_is_the_same(&finished, &run);
    assert!(!finished.temporary_folder().exists());
}

/// Every order that a client was promised is in the shop's database.
fn check_books(run: &RunFiles) {
    let rows = run.csv("samples.csv");
    let is_promise = |row: &&BTreeMap<String, String>| row["operation"] == "place_order" && row["outcome"] == "ok";
    let acknowledged = rows.iter().filter(is_promise).count() as u64;
    let order_check = &run.manifest()["order_check"];
    assert!(acknowledged > 0);
    assert_eq!(order_check["acknowledged"].as_u64(), Some(acknowledged));
    assert!(order_check["stored"].as_u64().unwrap() >= acknowledged, "{order_check}");
}

/// Every step is in the log with its time, and what was printed is there as it was printed.
fn check_log(finished: &Finished, run: &RunFiles) {
    let log = fs::read_to_string(run.results.join("logs/driver.log")).unwrap();
    for step in [
        "DEBUG server and 2 clients up after",
        "DEBUG environment 1 is up",
        "DEBUG cell delay-40ms-r1: condition set: delay 40ms",
        "DEBUG cell delay-40ms-r1: before: probe: ",
        "DEBUG cell delay-40ms-r1: after: read back: ",
        "DEBUG environment 1: all nodes removed",
        &format!("DEBUG removed directory {}", finished.temporary_folder().display()),
    ] {
        assert!(log.lines().any(|line| line.starts_with("20") && line.contains(step)), "no '{step}' in\n{log}");
    }
    let stderr = String::from_utf8_lossy(&finished.output.stderr);
    let cells: Vec<&str> = stderr.lines().filter(|line| line.contains("/4 ")).collect();
    assert!(cells.len() == 4 && cells[0].starts_with("1/4 loss 10 %: seen "), "{stderr}");
    for line in cells {
        assert!(log.contains(&format!("  INFO {line}\n")), "no '{line}' in\n{log}");
    }
    assert!(!stderr.contains("condition set"), "{stderr}");
}

fn check_pictures(run: &RunFiles) {
    for condition in ["loss", "delay", "rate"] {
        for picture in ["latency-by-operation", "latency", "rtt", "ecdf", "errors"] {
            let png = fs::read(run.graphs.join(format!("{condition}-{picture}.png"))).unwrap();
            assert!(png.starts_with(b"\x89PNG") && png.len() > 5_000, "{condition}-{picture}.png");
            let svg = fs::read_to_string(run.graphs.join(format!("{condition}-{picture}.svg"))).unwrap();
            assert!(svg.contains("</svg>"), "{condition}-{picture}.svg");
        }
    }
}

/// Everything after the samples can be made again from the folder alone.
fn check_report_is_the_same(finished: &Finished, run: &RunFiles) {
    let summary = fs::read(run.results.join("summary.csv")).unwrap();
    fs::remove_file(run.results.join("summary.csv")).unwrap();
    let folder = run.results.to_str().unwrap();
    let again = testbed(finished.folder.path(), &["report", folder, "--graphs", "again"]).output().unwrap();
    assert!(again.status.success());
    assert_eq!(again.stdout, finished.output.stdout, "the table is the same");
    assert_eq!(fs::read(run.results.join("summary.csv")).unwrap(), summary);
    let name = "delay-latency.svg";
    let redrawn = fs::read(finished.folder.path().join("again").join(&run.id).join(name)).unwrap();
    assert_eq!(redrawn, fs::read(run.graphs.join(name)).unwrap());
}

fn a_cell_whose_commits_were_held_up_is_marked_as_stalled_by_the_server() {
    let running = Running::start(&short("--duration 5s --delay 20ms --users 16"));
    let server = running.wait_for_child(&["shop-server", "--database"]);
    running.wait_for_rows("client-1", "delay-20ms-r1");
    // Seen through the process, since the tmpfs with the database is mounted for the driver and its children only.
    let folder = running.server_folder().strip_prefix("/").unwrap().join("memory");
    let index = std::path::Path::new("/proc").join(server.to_string()).join("root").join(folder).join("shop.db-shm");
    let index = fs::OpenOptions::new().read(true).write(true).open(index).unwrap();
    // The lock of whoever writes to SQLite's log: one byte of its index (sqlite.org/walformat.html).
    let lock = |kind| one_byte(kind, 120);
    let mut held = 0;
    while lives(server) && held < 5 {
        fcntl(&index, FcntlArg::F_SETLKW(&lock(nix::libc::F_WRLCK))).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        fcntl(&index, FcntlArg::F_SETLK(&lock(nix::libc::F_UNLCK))).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        held += 1;
    }
    let finished = running.end();
    assert_eq!(finished.code(), Some(3), "{}", finished.words());
    let cells = finished.run().csv("cells.csv");
    assert_eq!(cells[0]["verdict"], "verified", "{}", finished.words());
    assert!(cells[0]["server_stall"].contains("slow responses of the server make"), "{}", finished.words());
    assert!(finished.run().manifest()["database_filesystem"] == "tmpfs");
}

/// One byte of a file, at `start`.
fn one_byte(kind: nix::libc::c_int, start: i64) -> nix::libc::flock {
    nix::libc::flock { l_type: kind as i16, l_whence: nix::libc::SEEK_SET as i16, l_start: start, l_len: 1, l_pid: 0 }
}

fn ctrl_c_saves_and_draws_what_was_measured() {
    let mut running = Running::start(&short(INTERFERED));
    running.wait_for_line("1/3 ");
    running.wait_for_child(&["workload", "delay-20ms-r1"]);
    let children = running.children();
    running.signal(Signal::SIGINT);
    let finished = running.end();
    assert_eq!(finished.code(), Some(130), "{}", finished.words());
    let run = finished.run();
    let verdicts = verdicts(&run);
    assert_eq!(verdicts[0], ("delay-0-r1".to_owned(), "verified".to_owned()));
    assert!(
        verdicts.len() <= 2 && verdicts.iter().skip(1).all(|(_, verdict)| verdict == "interrupted"),
        "{verdicts:?}"
    );
    assert_eq!(run.manifest()["status"], "interrupted");
    let resume = format!("testbed run --resume results/{}", run.id);
    assert!(finished.words().contains(&resume), "'{resume}' is missing in: {}", finished.words());
    assert!(run.csv("samples.csv").iter().any(|row| row["cell"] == "delay-0-r1"));
    assert!(run.graphs.join("overview.png").is_file());
    wait_until_gone(&children);
    assert!(!finished.temporary_folder().exists());
}

fn after_kill_9_no_process_is_left_and_clean_removes_the_folder() {
    let mut running = Running::start(&short("--duration 30s --delay 20ms"));
    running.wait_for_line("emulator shaper");
    running.wait_for_child(&["workload"]);
    let children = running.children();
    assert!(children.len() >= 3, "server, shaper, clients: {children:?}");
    running.signal(Signal::SIGKILL);
    let finished = running.end();
    wait_until_gone(&children);
    let folder = finished.temporary_folder();
    assert!(folder.exists(), "the lock's folder is what is left");
    let cleaned = testbed(finished.folder.path(), &["clean"]).output().unwrap();
    assert!(cleaned.status.success());
    assert!(!folder.exists());
}

fn a_server_that_dies_marks_its_cell_and_the_run_goes_on() {
    let mut running = Running::start(&short(INTERFERED));
    running.wait_for_line("1/3 ");
    running.wait_for_child(&["workload", "delay-20ms-r1"]);
    let server = running.wait_for_child(&["shop-server", "--database"]);
    kill(server, Signal::SIGKILL).unwrap();
    let finished = running.end();
    assert_eq!(finished.code(), Some(3), "{}", finished.words());
    let rows = finished.run().csv("cells.csv");
    let verdicts: Vec<&str> = rows.iter().map(|row| row["verdict"].as_str()).collect();
    assert_eq!(verdicts, ["verified", "failed", "verified"], "{}", finished.words());
    assert!(rows[1]["problems"].contains("the server ended with exit code 137"), "{}", rows[1]["problems"]);
}

fn a_client_that_hangs_marks_its_cell_and_is_renewed() {
    let mut running = Running::start(&short(INTERFERED));
    running.wait_for_line("1/3 ");
    let client = running.wait_for_child(&["workload", "delay-20ms-r1", "client-2"]);
    // A client that was never heard of is not yet hanging: wait until it works, which its CSV shows.
    running.wait_for_rows("client-2", "delay-20ms-r1");
    kill(client, Signal::SIGSTOP).unwrap();
    let finished = running.end();
    assert_eq!(finished.code(), Some(3), "{}", finished.words());
    let rows = finished.run().csv("cells.csv");
    let verdicts: Vec<&str> = rows.iter().map(|row| row["verdict"].as_str()).collect();
    assert_eq!(verdicts, ["verified", "failed", "verified"], "{}", finished.words());
    assert!(rows[1]["problems"].contains("client-2 said nothing for"), "{}", rows[1]["problems"]);
    assert!(!lives(client));
}

fn the_same_seed_makes_the_same_decisions() {
    let run = |arguments| finish(&short(arguments)).run().decisions();
    let [first, again, other] =
        ["--duration 1s --delay 0 --seed 7", "--duration 1s --delay 0 --seed 7", "--duration 1s --delay 0 --seed 8"]
            .map(run);
    assert_same_decisions(&first, &again);
    assert_ne!(first, other);
}

fn tcset_is_refused_before_the_run_where_its_programs_are_not_installed() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "run --backend netns --emulator tcset --delay 20ms --duration 1s --clients 1";
    let mut command = testbed(folder.path(), &arguments.split(' ').collect::<Vec<_>>());
    let output = command.env("PATH", folder.path()).output().unwrap();
    let finished = Finished { folder, output };
    assert_eq!(finished.code(), Some(1), "{}", finished.words());
    let words = finished.words();
    assert!(words.contains("tcset does not work here: there is no tc"), "{words}");
    assert!(finished.run().csv("samples.csv").is_empty());
    assert_eq!(finished.run().manifest()["status"], "failed");
}

fn wrong_usage_is_told_with_the_accepted_form() {
    for (arguments, code, expected) in [
        (vec!["run", "--rate", "1Mps"], 2, "1Mps"),
        (vec!["run", "--duration", "30"], 2, "30s"),
        (vec!["run", "--clients", "0"], 2, "clients is 0"),
        (vec!["run", "--scenario", "none-such"], 2, "none-such"),
        (vec!["report", "none-such"], 2, "manifest.json"),
        (vec!["fly"], 2, "fly"),
    ] {
        let finished = finish(&arguments);
        assert_eq!(finished.code(), Some(code), "{arguments:?}: {}", finished.words());
        assert!(finished.words().contains(expected), "{arguments:?}: {}", finished.words());
        assert!(!finished.folder.path().join("results").exists(), "{arguments:?} left results");
    }
}

fn a_dry_run_prints_the_plan_and_does_nothing() {
    let finished = finish(&["run", "--dry-run", "--repetitions", "2"]);
    let plan = String::from_utf8_lossy(&finished.output.stdout).into_owned();
    assert!(plan.contains("loss-2%-r2") && plan.contains("18 cells"), "{plan}");
    assert!(!finished.folder.path().join("results").exists());
}
