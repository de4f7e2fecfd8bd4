//! Switching: time from the start of the `shaper set` command to the first packet under the new condition.
//!
//! The near node sends a datagram with its send time every 0.2 ms; the measured delay identifies the condition that was
//! applied. The command is started as a process in the namespace, as a user would start it.

use std::net::UdpSocket;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::Condition;

use crate::Effort;
use crate::delay::now_ns;
use crate::emulator::{Emulator, options};
use crate::fixture::{FAR, Fixture, NEAR};
use crate::statistics::median;
use crate::table::{Cell, Row};

const GAP: Duration = Duration::from_micros(200);
/// Delays in milliseconds, far enough apart to be distinguished.
const STEPS_MS: [u32; 4] = [0, 20, 40, 60];
const SWITCHES_EACH: u32 = 10;
/// Timeout of a receive, longer than any delay and any switch.
const RECEIVE_TIMEOUT: Duration = Duration::from_millis(250);

pub(crate) fn rows(fixture: &Fixture, emulators: &[Emulator], effort: Effort) -> Vec<Row> {
    let mut of_emulators: Vec<_> = emulators.iter().map(|emulator| times(fixture, emulator, effort)).collect();
    ["from the unshaped link to a delay", "from delay to delay", "to the unshaped link"]
        .into_iter()
        .map(|what| Row {
            what: format!("`shaper set` (`tc qdisc`) {what}: median, longest"),
            target: "≤ 20 ms".to_owned(),
            cells: of_emulators.iter_mut().map(|times| cell(times.pop())).collect(),
        })
        .collect()
}

fn cell(times: Option<Vec<f64>>) -> Cell {
    let Some(times) = times else { return Cell::without_target("") };
    let longest = times.iter().copied().fold(0.0, f64::max);
    Cell::judged(format!("{:.1}, {longest:.1} ms (n={})", median(&times), times.len()), longest <= 20.0)
}

/// Measures the times of the three kinds of switch in milliseconds, the last kind first; empty for the unshaped link.
fn times(fixture: &Fixture, emulator: &Emulator, effort: Effort) -> Vec<Vec<f64>> {
    if emulator.is_unshaped() {
        return Vec::new();
    }
    let shaper = matches!(emulator, Emulator::Shaper { .. }).then(|| emulator.impose(fixture, "{}", 1));
    let mut kinds = vec![Vec::new(); 3];
    for _ in 0..effort.of(SWITCHES_EACH) {
        let steps = STEPS_MS.iter().chain([&STEPS_MS[0]]);
        for (from, to) in STEPS_MS.iter().zip(steps.skip(1)) {
            let kind = if *to == 0 {
                0
            } else if *from == 0 {
                2
            } else {
                1
            };
            kinds[kind].push(one(fixture, emulator, *from, *to));
        }
    }
    drop(shaper);
    kinds
}

fn one(fixture: &Fixture, emulator: &Emulator, from_ms: u32, to_ms: u32) -> f64 {
    let far = Fixture::inside(&fixture.far, || UdpSocket::bind((FAR, 0)).unwrap());
    far.set_read_timeout(Some(RECEIVE_TIMEOUT)).unwrap();
    let near = Fixture::inside(&fixture.near, || UdpSocket::bind((NEAR, 0)).unwrap());
    near.connect(far.local_addr().unwrap()).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| arrivals(&far));
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                near.send(&now_ns().to_be_bytes()).unwrap();
                std::thread::sleep(GAP);
            }
        });
        std::thread::sleep(Duration::from_millis(20));
        let started = Fixture::inside(&fixture.near, || switch(emulator, from_ms, to_ms));
        // Datagrams in flight during the switch have arrived after this time.
        std::thread::sleep(Duration::from_millis(30));
        stop.store(true, Ordering::Relaxed);
        first_under(to_ms, started, &receiver.join().unwrap())
    })
}

/// Switches the delay; returns the time at which the command was started.
fn switch(emulator: &Emulator, from_ms: u32, to_ms: u32) -> u64 {
    let mut command = match emulator {
        Emulator::Shaper { program, .. } => {
            let delay = format!(r#"{{"delay":"{to_ms}ms"}}"#);
            let condition: Condition = serde_json::from_str(&delay).unwrap();
            let mut command = Command::new(program);
            command.arg("set").args(options(&condition).split_whitespace());
            command
        }
        _ => {
            let mut command = Command::new("tc");
            command.args(["qdisc", if to_ms == 0 { "del" } else { "replace" }, "dev", "eth0", "root"]);
            if to_ms != 0 {
                command.args(["netem", "limit", "100000", "delay", &format!("{to_ms}ms")]);
            }
            command
        }
    };
    let started = now_ns();
    let output = command.output().unwrap();
    assert!(output.status.success(), "from {from_ms} to {to_ms} ms: {output:?}");
    started
}

/// Returns send and receive times of datagrams, until none arrives.
fn arrivals(socket: &UdpSocket) -> Vec<(u64, u64)> {
    let mut buffer = [0; 8];
    let mut arrivals = Vec::new();
    while socket.recv(&mut buffer).is_ok() {
        arrivals.push((u64::from_be_bytes(buffer), now_ns()));
    }
    arrivals
}

/// Returns the send time of the first datagram with the new delay, in milliseconds after `started`.
fn first_under(delay_ms: u32, started: u64, arrivals: &[(u64, u64)]) -> f64 {
    let deviation_ms = |sent: u64, received: u64| (received as f64 - sent as f64) / 1e6 - f64::from(delay_ms);
    let mut sent: Vec<u64> = arrivals
        .iter()
        .filter(|(sent, received)| *sent >= started && (-1.0..10.0).contains(&deviation_ms(*sent, *received)))
        .map(|(sent, _)| *sent)
        .collect();
    sent.sort_unstable();
    let first = sent.first().expect("no packet had the new delay");
    (first - started) as f64 / 1e6
}
