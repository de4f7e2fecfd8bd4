//! The workload controlled by a driver: events, stop, kill.
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Shop, client, samples};
use client::workload::GRACE_AT_STOP;
use model::messages::workload::Event;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The client program in driver mode.
struct Driven {
    child: Child,
    events: std::io::Lines<BufReader<ChildStdout>>,
}

impl Driven {
    fn start(shop: &Shop, csv: &Path, args: &[&str]) -> Self {
        let mut command = client(["workload", "--control", "--think-time=5ms", "--accounts=prepared", "--users=4"]);
        command.arg("--csv").arg(csv).args(shop.port_args()).args(args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let events = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, events }
    }

    fn next(&mut self) -> Option<Event> {
        let line = self.events.next()?.unwrap();
        Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}")))
    }

    fn go(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }

    fn until_progress(&mut self, at_least: u64) {
        loop {
            match self.next().expect("the program ended") {
                Event::Progress { operations, .. } if operations >= at_least => return,
                _ => {}
            }
        }
    }

    /// Waits for the end. Returns the last event and whether the program succeeded.
    fn end(mut self) -> (Option<Event>, bool) {
        let mut last = None;
        while let Some(event) = self.next() {
            last = Some(event);
        }
        (last, self.child.wait().unwrap().success())
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }
}

fn assert_done_with_all_rows(last: Option<Event>, csv: &Path, at_least: u64) {
    let Some(Event::Done { operations, errors, .. }) = last else { panic!("the last event is {last:?}") };
    assert!(operations >= at_least, "{operations} operations");
    assert_eq!((samples(csv).len() as u64, errors), (operations, 0));
}

#[test]
fn the_measurement_window_starts_at_go_and_ends_by_itself() {
    let shop = Shop::start(100_000);
    let directory = tempfile::tempdir().unwrap();
    let csv = directory.path().join("s.csv");
    let mut driven = Driven::start(&shop, &csv, &["--duration=600ms"]);
    assert_eq!(driven.next(), Some(Event::Ready));
    assert!(samples(&csv).is_empty(), "rows before go");
    let start = Instant::now();
    driven.go();
    let (last, success) = driven.end();
    assert!(success);
    assert!(start.elapsed() >= Duration::from_millis(600), "{:?}", start.elapsed());
    assert_done_with_all_rows(last, &csv, 4);
}

#[test]
fn the_end_of_stdin_stops_it_at_any_time_with_a_complete_csv() {
    let shop = Shop::start(100_000);
    let directory = tempfile::tempdir().unwrap();
    let csv = directory.path().join("s.csv");
    let mut driven = Driven::start(&shop, &csv, &["--duration=10m"]);
    assert_eq!(driven.next(), Some(Event::Ready));
    driven.child.stdin = None;
    assert_eq!(
        driven.end(),
        (Some(Event::Done { operations: 0, errors: 0, unfinished: 0, warm_up: 0, arrivals: None }), true)
    );

    let mut driven = Driven::start(&shop, &csv, &["--duration=10m"]);
    driven.go();
    driven.until_progress(20);
    driven.child.stdin = None;
    let (last, success) = driven.end();
    assert!(success);
    assert_done_with_all_rows(last, &csv, 20);
}

#[test]
fn signals_stop_it_too() {
    let shop = Shop::start(100_000);
    let directory = tempfile::tempdir().unwrap();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let csv = directory.path().join("s.csv");
        let mut driven = Driven::start(&shop, &csv, &["--duration=10m"]);
        driven.go();
        driven.until_progress(20);
        driven.signal(signal);
        let (last, success) = driven.end();
        assert!(success, "{signal}");
        assert_done_with_all_rows(last, &csv, 20);
    }
}

#[test]
fn an_operation_in_flight_at_a_stop_is_cancelled_after_a_second_and_counted() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let directory = tempfile::tempdir().unwrap();
    let csv = directory.path().join("s.csv");
    // Without the cancellation it would not end.
    let mut command = client(["workload", "--control", "--duration=10m", "--request-timeout=1h", "--csv"]);
    command.arg(&csv).args([format!("--accounts-port={port}"), format!("--shop-port={port}")]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    let (connection, _) = silent.accept().unwrap();
    let stopped = Instant::now();
    child.stdin = None;
    let output = child.wait_with_output().unwrap();
    assert!(stopped.elapsed() >= GRACE_AT_STOP, "{:?}", stopped.elapsed());
    let last = String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_owned();
    assert_eq!(
        serde_json::from_str::<Event>(&last).unwrap(),
        Event::Done { operations: 0, errors: 0, unfinished: 1, warm_up: 0, arrivals: None }
    );
    assert!(samples(&csv).is_empty());
    drop(connection);
}

#[test]
fn a_killed_client_leaves_complete_rows_up_to_its_last_write() {
    let shop = Shop::start(100_000);
    let directory = tempfile::tempdir().unwrap();
    let csv = directory.path().join("s.csv");
    let mut driven = Driven::start(&shop, &csv, &["--duration=10m"]);
    driven.go();
    driven.until_progress(1);
    let written = |csv: &Path| std::fs::metadata(csv).unwrap().len();
    let header = model::sample::COLUMNS.join(",").len() as u64 + 1;
    while written(&csv) == header {
        driven.until_progress(1);
    }
    let rows_before = samples(&csv).len();
    driven.signal(Signal::SIGKILL);
    let (_, success) = driven.end();
    assert!(!success);
    assert!(rows_before > 0 && samples(&csv).len() >= rows_before);
}

#[test]
fn accounts_that_cannot_be_prepared_end_it_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = client(["workload", "--accounts=prepared", "--prepare-timeout=300ms", "--csv"]);
    let output = command.arg(directory.path().join("s.csv")).args(["--accounts-port=1"]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("was not registered within --prepare-timeout") && stderr.contains("refused"), "{stderr}");
}
