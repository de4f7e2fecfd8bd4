//! Fault-injection tests: changes to the link while a cell is measured must make the cell unverified, by measurements
//! and not only by the emulator's readback.

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
        test!(without_a_fault_the_same_run_is_verified),
        test!(a_condition_that_was_never_applied_is_detected_despite_a_false_readback),
        test!(half_the_delay_is_detected_despite_a_false_readback),
        test!(half_the_jitter_is_detected_despite_a_false_readback),
        test!(a_condition_removed_during_the_workload_is_detected),
        test!(a_condition_removed_and_set_again_is_detected),
        test!(a_condition_on_the_wrong_interface_is_detected),
        test!(a_killed_shaper_fails_its_cell_and_is_replaced_for_the_next),
    ];
    // In parallel: the tests mostly wait.
    run(4, tests.map(|test| test.needs(&[netns_as_root]).shared()))
}

/// Problem of a cell with operations whose RTT is below the delay.
const TOO_SHORT: &str = "an RTT below the requested 50 ms";
const DELAYED: &str = "delay-50ms-r1";
const WITH_JITTER: &str = "combined-50ms+j10ms-r1";

/// Starts a run of two cells: a baseline cell, which leaves time to prepare the fault, and one with a delay.
fn start() -> Running {
    start_with("--delay 0,50ms")
}

fn start_with(conditions: &str) -> Running {
    let arguments = "run --backend netns --emulator shaper --clients 1 --duration 4s --warm-up 0s --think-time 20ms";
    Running::start(&arguments.split(' ').chain(conditions.split(' ')).collect::<Vec<_>>())
}

/// Returns the row of the cell with the delay, which must be unverified.
fn unverified(finished: &Finished) -> BTreeMap<String, String> {
    unverified_cell(finished, DELAYED)
}

fn unverified_cell(finished: &Finished, cell: &str) -> BTreeMap<String, String> {
    assert_eq!(finished.code(), Some(3), "{}", finished.printed());
    let rows = finished.run().csv("cells.csv");
    assert_eq!((rows[1]["cell"].as_str(), rows.len()), (cell, 2), "{}", finished.printed());
    assert_eq!(rows[1]["verdict"], "unverified", "{}", finished.printed());
    rows[1].clone()
}

fn assert_problems(row: &BTreeMap<String, String>, expected: &[&str]) {
    for problem in expected {
        assert!(row["problems"].contains(problem), "'{problem}' is missing in: {}", row["problems"]);
    }
}

/// A node of a run, identified by a process in it.
#[derive(Clone, Copy)]
struct Inside(Pid);

impl Inside {
    /// Returns the command of a testbed program in the node.
    fn program(self, arguments: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["-t", &self.0.to_string(), "-n", env!("CARGO_BIN_EXE_testbed"), "program"])
            .args(arguments.split(' '));
        command
    }

    fn shaper_status(self) -> Option<Value> {
        serde_json::from_slice(&self.program("shaper show").output().unwrap().stdout).ok()
    }

    /// Waits until the shaper's status matches.
    fn wait_for_shaper(self, matches: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + WAIT_TIMEOUT;
        while !self.shaper_status().is_some_and(|status| matches(&status)) {
            assert!(Instant::now() < deadline, "no such status of the shaper: {:?}", self.shaper_status());
        }
    }

    fn wait_for_delay_and_packets(self, packets: u64) {
        self.wait_for_shaper(|status| {
            status["condition"]["delay"] == "50ms" && status["counters"]["packets"].as_u64() >= Some(packets)
        });
    }

    /// Runs a program in the node, which must succeed.
    fn run(self, arguments: &str) {
        let output = self.program(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts a shaper in the node. It stops when it is dropped.
    fn start_shaper(self, options: &str) -> TestShaper {
        let mut child = self
            .program(&format!("shaper run --exit-on-stdin-eof {options}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut ready).unwrap();
        assert!(ready.contains("ready"), "{ready}");
        TestShaper(child)
    }
}

/// A shaper that the test has started.
struct TestShaper(Child);

impl Drop for TestShaper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Waits until the clients of the first cell work. Returns the server's node and the process of the driver's shaper.
fn server_and_shaper(running: &Running) -> (Inside, Pid) {
    running.wait_for_child(&["workload", "delay-0-r1"]);
    running.wait_for_rows("client-1", "delay-0-r1");
    (Inside(running.wait_for_child(&["shop-server", "--config"])), running.wait_for_child(&["shaper", "run"]))
}

/// Replaces the shaper in the node by a fake that shapes nothing and reports the requested condition as active.
fn fake_shaper(node: Inside, shaper: Pid) {
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
                let is_baseline = request["condition"]["delay"] == "0";
                status["routing"] = json!({ "state": if is_baseline { "inactive" } else { "active" }, "missing": [] });
            }
            // More than the packets of the probe.
            status["counters"]["sent"] = json!(1_000);
            writeln!(connection, "{}", json!({ "status": status })).unwrap();
        }
    });
}

fn a_condition_that_was_never_applied_is_detected_despite_a_false_readback() {
    let running = start();
    let (server, shaper) = server_and_shaper(&running);
    fake_shaper(server, shaper);
    let row = unverified(&running.end());
    assert_eq!(row["read_back"], "shaper: delay 50ms, routing active");
    assert_problems(&row, &["before: delay: requested 50 ms, probe measured", "after: delay", TOO_SHORT]);
}

fn half_the_delay_is_detected_despite_a_false_readback() {
    let mut running = start();
    let (server, shaper) = server_and_shaper(&running);
    fake_shaper(server, shaper);
    running.wait_for_line("1/2 ");
    let client = Inside(running.wait_for_child(&["workload", DELAYED]));
    let _half = client.start_shaper("--delay 25ms");
    let row = unverified(&running.end());
    assert_eq!(row["read_back"], "shaper: delay 50ms, routing active");
    assert_problems(&row, &["after: delay: requested 50 ms, probe measured", TOO_SHORT]);
    let (_, after) = row["problems"].split_once("after: delay: requested 50 ms, probe measured ").unwrap();
    let measured: f64 = after.split(' ').next().unwrap().parse().unwrap();
    assert!((24.0..49.0).contains(&measured), "the client's shaper adds 25 ms, the probe measured {measured} ms");
}

fn half_the_jitter_is_detected_despite_a_false_readback() {
    let mut running = start_with("--delay 0 --combined delay=50ms,jitter=10ms");
    let (server, shaper) = server_and_shaper(&running);
    fake_shaper(server, shaper);
    running.wait_for_line("1/2 ");
    let client = Inside(running.wait_for_child(&["workload", WITH_JITTER]));
    let _half = client.start_shaper("--delay 50ms --jitter 5ms");
    let row = unverified_cell(&running.end(), WITH_JITTER);
    assert_eq!(row["read_back"], "shaper: delay 50ms, jitter 10ms, routing active");
    assert_problems(&row, &["after: jitter: requested ±10 ms, probe measured ±"]);
    assert!(!row["problems"].contains("after: delay"), "the mean delay is correct: {}", row["problems"]);
}

fn a_condition_removed_during_the_workload_is_detected() {
    let running = start();
    let (server, _) = server_and_shaper(&running);
    server.wait_for_delay_and_packets(150);
    server.run("shaper clear");
    let row = unverified(&running.end());
    assert_problems(
        &row,
        &["after: requested delay 50ms, readback shaper: baseline", "after: delay: requested 50 ms, probe measured"],
    );
    assert!(!row["problems"].contains("before:"), "{}", row["problems"]);
}

fn a_condition_removed_and_set_again_is_detected() {
    let running = start();
    let (server, _) = server_and_shaper(&running);
    server.wait_for_delay_and_packets(150);
    server.run("shaper clear");
    running.wait_for_row("client-1", DELAYED, |row| row["rtt_ms"].parse().is_ok_and(|rtt: f64| rtt < 25.0));
    server.run("shaper set --delay 50ms");
    let row = unverified(&running.end());
    assert_problems(&row, &[TOO_SHORT]);
    assert!(
        !row["problems"].contains("after: delay"),
        "the condition was active before and after: {}",
        row["problems"]
    );
}

fn a_condition_on_the_wrong_interface_is_detected() {
    let running = start();
    let (server, shaper) = server_and_shaper(&running);
    kill(shaper, Signal::SIGTERM).unwrap();
    wait_until_gone(&[shaper]);
    let pid = server.0.to_string();
    let ip = |arguments: &str| {
        let status =
            Command::new("nsenter").args(["-t", &pid, "-n", "ip"]).args(arguments.split(' ')).status().unwrap();
        assert!(status.success(), "ip {arguments}");
    };
    ip("link add other type veth peer name end");
    ip("addr add 192.0.2.1/24 dev other");
    ip("link set other up");
    ip("link set end up");
    let _other = server.start_shaper("--device other");
    let row = unverified(&running.end());
    assert_eq!(row["read_back"], "shaper: delay 50ms on other, routing active");
    assert_problems(&row, &["before: delay: requested 50 ms, probe measured", "after: delay", TOO_SHORT]);
}

fn a_killed_shaper_fails_its_cell_and_is_replaced_for_the_next() {
    let arguments = "run --backend netns --emulator shaper --clients 1 --duration 3s --warm-up 0s --think-time 20ms \
                     --delay 0,50ms,20ms";
    let running = Running::start(&arguments.split(' ').collect::<Vec<_>>());
    let (server, shaper) = server_and_shaper(&running);
    server.wait_for_delay_and_packets(150);
    kill(shaper, Signal::SIGKILL).unwrap();
    let finished = running.end();
    assert_eq!(finished.code(), Some(3), "{}", finished.printed());
    let rows = finished.run().csv("cells.csv");
    assert_eq!((rows[1]["cell"].as_str(), rows[1]["verdict"].as_str()), (DELAYED, "failed"), "{}", finished.printed());
    assert_eq!(rows[2]["verdict"], "verified", "{}", finished.printed());
}

fn without_a_fault_the_same_run_is_verified() {
    let arguments =
        "run --backend netns --emulator shaper --clients 1 --duration 1s --warm-up 0s --think-time 20ms --delay 0,50ms";
    let finished = finish(&arguments.split(' ').collect::<Vec<_>>());
    let rows = finished.run().csv("cells.csv");
    assert!(rows.iter().all(|row| row["verdict"] == "verified"), "{}", finished.printed());
    let number = |column: &str| rows[1][column].parse::<f64>().unwrap();
    assert!((number("device_sent") - number("link_sent")).abs() <= 60.0, "{:?}", rows[1]);
}
