//! Switching: from starting the `shaper set` command to the first packet that meets the new condition.
//!
//! Datagrams leave the near node every fifth of a millisecond, each with its time; the delay that each had tells the
//! condition that it met. Started as a user would (a process), in the namespace.

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
/// Delays in milliseconds, so far apart that one is not taken for another.
const STEPS_MS: [u32; 4] = [0, 20, 40, 60];
const SWITCHES_EACH: u32 = 10;
/// Longer than any delay and any switch.
const WATCHED: Duration = Duration::from_millis(250);

pub(crate) fn rows(fixture: &Fixture, emulators: &[Emulator], effort: Effort) -> Vec<Row> {
    let mut of_emulators: Vec<_> = emulators.iter().map(|emulator| times(fixture, emulator, effort)).collect();
    ["from the unshaped link to a delay", "from delay to delay", "to the unshaped link"]
        .into_iter()
        .map(|what| Row {
            what: format!("`shaper set` (`tc qdisc`) {what}: median, longest"),
            goal: "≤ 20 ms".to_owned(),
            cells: of_emulators.iter_mut().map(|times| cell(times.pop())).collect(),
        })
        .collect()
}

fn cell(times: Option<Vec<f64>>) -> Cell {
    let Some(times) = times else { return Cell::without_goal("") };
    let longest = times.iter().copied().fold(0.0, f64::max);
    Cell::judged(format!("{:.1}, {longest:.1} ms (n={})", median(&times), times.len()), longest <= 20.0)
}

/// Times of the three kinds of switch, in milliseconds, the last kind first; none for the unshaped link.
fn times(fixture: &Fixture, emulator: &Emulator, effort: Effort) -> Vec<Vec<f64>> {
    if emulator.is_bare() {
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
    far.set_read_timeout(Some(WATCHED)).unwrap();
    let near = Fixture::inside(&fixture.near, || UdpSocket::bind((NEAR, 0)).unwrap());
    near.connect(far.local_addr().unwrap()).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| arrivals(&far));
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                near.send(&now_ns().to_be_bytes()).unwrap();
                std::thread::sleep(GAP);
            }
        });
        std::thread::sleep(Duration::from_millis(20));
        let started = Fixture::inside(&fixture.near, || switch(emulator, from_ms, to_ms));
        // What was in flight as the switch came has arrived by then.
        std::thread::sleep(Duration::from_millis(30));
        stop.store(true, Ordering::Relaxed);
        first_under(to_ms, started, &watcher.join().unwrap())
    })
}

/// Sets it; gives the time at which that started.
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

/// Sent and received times of datagrams, until none comes.
fn arrivals(socket: &UdpSocket) -> Vec<(u64, u64)> {
    let mut buffer = [0; 8];
    let mut arrivals = Vec::new();
    while socket.recv(&mut buffer).is_ok() {
        arrivals.push((u64::from_be_bytes(buffer), now_ns()));
    }
    arrivals
}

/// When the first datagram was sent that met the new delay, in milliseconds after `started`.
fn first_under(delay_ms: u32, started: u64, arrivals: &[(u64, u64)]) -> f64 {
    let met = |sent: u64, received: u64| (received as f64 - sent as f64) / 1e6 - f64::from(delay_ms);
    let mut sent: Vec<u64> = arrivals
        .iter()
        .filter(|(sent, received)| *sent >= started && (-1.0..10.0).contains(&met(*sent, *received)))
        .map(|(sent, _)| *sent)
        .collect();
    sent.sort_unstable();
    let first = sent.first().expect("no packet met the new condition");
    (first - started) as f64 / 1e6
}
