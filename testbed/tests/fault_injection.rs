//! The link is tampered with while a cell is measured: every such cell must be flagged, and by what was measured, not
//! only by the emulator's own readback.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the failure")]

mod common;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

use common::{Finished, Running, WAIT_TIMEOUT, finish, netns_as_root, wait_until_gone};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use test_support::{run, test};

fn main() -> ExitCode {
    let tests = [
        test!(without_a_saboteur_the_same_run_is_verified),
        test!(a_condition_that_was_never_applied_is_flagged_although_the_emulator_swears_to_it),
        test!(half_the_delay_is_flagged_although_the_emulator_swears_to_all_of_it),
        test!(half_the_jitter_is_flagged_although_the_emulator_swears_to_all_of_it),
        test!(a_condition_that_is_removed_halfway_is_flagged),
        test!(a_condition_that_was_away_for_a_moment_only_is_flagged),
        test!(a_condition_on_the_wrong_device_is_flagged),
        test!(a_shaper_that_is_killed_is_flagged_and_the_next_cell_has_a_new_one),
    ];
    // They wait most of the time.
    run(4, tests.map(|test| test.needs(&[netns_as_root]).shared()))
}

const DELAYED: &str = "delay-50ms-r1";
const JITTERY: &str = "combined-50ms+j10ms-r1";

/// A run of a bare cell, in which there is time to prepare, and one with a delay.
fn start() -> Running {
    start_with("--delay 0,50ms")
}

fn start_with(conditions: &str) -> Running {
    let words = "run --backend netns --emulator shaper --clients 1 --duration 4s --warm-up 0s --think-time 20ms";
    Running::start(&words.split(' ').chain(conditions.split(' ')).collect::<Vec<_>>())
}

/// The row of the cell with the delay, which must not count as proved.
fn flagged(finished: &Finished) -> BTreeMap<String, String> {
    flagged_cell(finished, DELAYED)
}

fn flagged_cell(finished: &Finished, cell: &str) -> BTreeMap<String, String> {
    assert_eq!(finished.code(), Some(3), "{}", finished.words());
    let rows = finished.run().csv("cells.csv");
    assert_eq!((rows[1]["cell"].as_str(), rows.len()), (cell, 2), "{}", finished.words());
    assert_eq!(rows[1]["verdict"], "unverified", "{}", finished.words());
    rows[1].clone()
}

fn assert_says(row: &BTreeMap<String, String>, words: &[&str]) {
    for word in words {
        assert!(row["problems"].contains(word), "'{word}' is missing in: {}", row["problems"]);
    }
}

/// A node of a run, by a process that lives in it.
#[derive(Clone, Copy)]
struct Inside(Pid);

impl Inside {
    /// One of the testbed's programs in the node.
    fn program(self, words: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["-t", &self.0.to_string(), "-n", env!("CARGO_BIN_EXE_testbed"), "program"])
            .args(words.split(' '));
        command
    }

    fn shaper_status(self) -> Option<Value> {
        serde_json::from_slice(&self.program("shaper show").output().unwrap().stdout).ok()
    }

    /// Waits until the shaper says something.
    fn wait_for_shaper(self, fits: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + WAIT_TIMEOUT;
        while !self.shaper_status().is_some_and(|status| fits(&status)) {
            assert!(Instant::now() < deadline, "the shaper never said it: {:?}", self.shaper_status());
        }
    }

    fn wait_for_delay_and_packets(self, packets: u64) {
        self.wait_for_shaper(|status| {
            status["condition"]["delay"] == "50ms" && status["counters"]["packets"].as_u64() >= Some(packets)
        });
    }

    fn succeed(self, words: &str) {
        let output = self.program(words).output().unwrap();
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts a shaper in the node that lives until it is dropped.
    fn shape(self, options: &str) -> OwnShaper {
        let mut child = self
            .program(&format!("shaper run --exit-on-stdin-eof {options}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut ready).unwrap();
        assert!(ready.contains("ready"), "{ready}");
        OwnShaper(child)
    }
}

/// A shaper that the test started.
struct OwnShaper(Child);

impl Drop for OwnShaper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// The server's node while the clients of the first cell work, and the driver's own shaper.
fn server_and_shaper(running: &Running) -> (Inside, Pid) {
    running.wait_for_child(&["workload", "delay-0-r1"]);
    running.wait_for_rows("client-1", "delay-0-r1");
    (Inside(running.wait_for_child(&["shop-server", "--database"])), running.wait_for_child(&["shaper", "run"]))
}

/// Takes the shaper's place in the node for as long as the node lives, and says of itself whatever was asked of it
/// last.
fn impersonate_shaper(node: Inside, shaper: Pid) {
    let mut status = node.shaper_status().unwrap();
    kill(shaper, Signal::SIGTERM).unwrap();
    wait_until_gone(&[shaper]);
    let namespace = File::open(format!("/proc/{}/ns/net", node.0)).unwrap();
    let listener = std::thread::spawn(move || {
        setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
        UnixListener::bind_addr(&SocketAddr::from_abstract_name("testbed-shaper").unwrap()).unwrap()
    });
    let listener = listener.join().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut line = String::new();
            BufReader::new(&connection).read_line(&mut line).unwrap();
            let request: Value = serde_json::from_str(&line).unwrap();
            if request["command"] == "set" {
                status["condition"] = request["condition"].clone();
                let is_bare = request["condition"]["delay"] == "0";
                status["routing"] = json!({ "state": if is_bare { "inactive" } else { "active" }, "missing": [] });
            }
            // Enough to make up for the probe.
            status["counters"]["sent"] = json!(1_000);
            writeln!(connection, "{}", json!({ "status": status })).unwrap();
        }
    });
}

fn a_condition_that_was_never_applied_is_flagged_although_the_emulator_swears_to_it() {
    let running = start();
    let (server, shaper) = server_and_shaper(&running);
    impersonate_shaper(server, shaper);
    let row = flagged(&running.end());
    assert_eq!(row["read_back"], "shaper: delay 50ms, way through it open");
    assert_says(&row, &["before: delay: asked 50 ms, the probe saw", "after: delay", "quicker than the delay"]);
}

fn half_the_delay_is_flagged_although_the_emulator_swears_to_all_of_it() {
    let mut running = start();
    let (server, shaper) = server_and_shaper(&running);
    impersonate_shaper(server, shaper);
    running.wait_for_line("1/2 ");
    let client = Inside(running.wait_for_child(&["workload", DELAYED]));
    let _half = client.shape("--delay 25ms");
    let row = flagged(&running.end());
    assert_eq!(row["read_back"], "shaper: delay 50ms, way through it open");
    assert_says(&row, &["after: delay: asked 50 ms, the probe saw", "quicker than the delay of 50 ms"]);
    let (_, after) = row["problems"].split_once("after: delay: asked 50 ms, the probe saw ").unwrap();
    let seen: f64 = after.split(' ').next().unwrap().parse().unwrap();
    assert!((24.0..49.0).contains(&seen), "the client's shaper adds 25 ms, the probe saw {seen} ms");
}

fn half_the_jitter_is_flagged_although_the_emulator_swears_to_all_of_it() {
    let mut running = start_with("--delay 0 --combined delay=50ms,jitter=10ms");
    let (server, shaper) = server_and_shaper(&running);
    impersonate_shaper(server, shaper);
    running.wait_for_line("1/2 ");
    let client = Inside(running.wait_for_child(&["workload", JITTERY]));
    let _half = client.shape("--delay 50ms --jitter 5ms");
    let row = flagged_cell(&running.end(), JITTERY);
    assert_eq!(row["read_back"], "shaper: delay 50ms, jitter 10ms, way through it open");
    assert_says(&row, &["after: jitter: asked ±10 ms, the probe saw ±"]);
    assert!(!row["problems"].contains("after: delay"), "its centre is right: {}", row["problems"]);
}

fn a_condition_that_is_removed_halfway_is_flagged() {
    let running = start();
    let (server, _) = server_and_shaper(&running);
    server.wait_for_delay_and_packets(150);
    server.succeed("shaper clear");
    let row = flagged(&running.end());
    assert_says(
        &row,
        &["after: asked delay 50ms, read back shaper: baseline", "after: delay: asked 50 ms, the probe saw"],
    );
    assert!(!row["problems"].contains("before:"), "{}", row["problems"]);
}

fn a_condition_that_was_away_for_a_moment_only_is_flagged() {
    let running = start();
    let (server, _) = server_and_shaper(&running);
    server.wait_for_delay_and_packets(150);
    server.succeed("shaper clear");
    running.wait_for_row("client-1", DELAYED, |row| row["rtt_ms"].parse().is_ok_and(|rtt: f64| rtt < 25.0));
    server.succeed("shaper set --delay 50ms");
    let row = flagged(&running.end());
    assert_says(&row, &["quicker than the delay"]);
    assert!(!row["problems"].contains("after: delay"), "before and after it was there: {}", row["problems"]);
}

fn a_condition_on_the_wrong_device_is_flagged() {
    let running = start();
    let (server, shaper) = server_and_shaper(&running);
    kill(shaper, Signal::SIGTERM).unwrap();
    wait_until_gone(&[shaper]);
    let pid = server.0.to_string();
    let ip = |words: &str| {
        let done = Command::new("nsenter").args(["-t", &pid, "-n", "ip"]).args(words.split(' ')).status().unwrap();
        assert!(done.success(), "ip {words}");
    };
    ip("link add other type veth peer name end");
    ip("addr add 192.0.2.1/24 dev other");
    ip("link set other up");
    ip("link set end up");
    let _other = server.shape("--device other");
    let row = flagged(&running.end());
    assert_eq!(row["read_back"], "shaper: delay 50ms on other, way through it open");
    assert_says(&row, &["before: delay: asked 50 ms, the probe saw", "after: delay", "quicker than the delay"]);
}

fn a_shaper_that_is_killed_is_flagged_and_the_next_cell_has_a_new_one() {
    let words = "run --backend netns --emulator shaper --clients 1 --duration 3s --warm-up 0s --think-time 20ms --delay 0,50ms,20ms";
    let running = Running::start(&words.split(' ').collect::<Vec<_>>());
    let (server, shaper) = server_and_shaper(&running);
    server.wait_for_delay_and_packets(150);
    kill(shaper, Signal::SIGKILL).unwrap();
    let finished = running.end();
    assert_eq!(finished.code(), Some(3), "{}", finished.words());
    let rows = finished.run().csv("cells.csv");
    assert_eq!((rows[1]["cell"].as_str(), rows[1]["verdict"].as_str()), (DELAYED, "failed"), "{}", finished.words());
    assert_eq!(rows[2]["verdict"], "verified", "{}", finished.words());
}

fn without_a_saboteur_the_same_run_is_verified() {
    let words =
        "run --backend netns --emulator shaper --clients 1 --duration 1s --warm-up 0s --think-time 20ms --delay 0,50ms";
    let finished = finish(&words.split(' ').collect::<Vec<_>>());
    let rows = finished.run().csv("cells.csv");
    assert!(rows.iter().all(|row| row["verdict"] == "verified"), "{}", finished.words());
    let number = |column: &str| rows[1][column].parse::<f64>().unwrap();
    assert!((number("device_sent") - number("link_sent")).abs() <= 60.0, "{:?}", rows[1]);
}
