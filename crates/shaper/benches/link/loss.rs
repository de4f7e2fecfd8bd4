//! Loss: numbered datagrams, of which those that do not arrive are counted.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use crate::Effort;
use crate::emulator::Emulator;
use crate::fixture::{FAR, Fixture, NEAR};
use crate::statistics::binomial_interval_99;
use crate::table::{Cell, Row};

const PACKETS: u32 = 100_000;
const SHARE: f64 = 0.01;
/// The draws follow from it, so that a check does not fail once in a hundred times.
const SEED: u64 = 1;
/// Bursts that no queue on the way is too short for: 50 000 packets a second.
const BURST: u32 = 50;
const BURST_GAP: Duration = Duration::from_millis(1);
const RECEIVE_BUFFER_BYTES: usize = 64 << 20;

pub(crate) fn rows(fixture: &Fixture, emulators: &[Emulator], effort: Effort) -> Vec<Row> {
    let count = effort.of(PACKETS);
    let (low, high) = binomial_interval_99(count, SHARE);
    let cell = |emulator: &Emulator| {
        let _in_force = emulator.impose(fixture, r#"{"loss":"1%"}"#, SEED);
        let lost = count - received(fixture, count);
        let text = format!("{lost} ({:.3} %)", 100.0 * f64::from(lost) / f64::from(count));
        if emulator.is_bare() { Cell::without_goal(text) } else { Cell::judged(text, (low..=high).contains(&lost)) }
    };
    vec![Row {
        what: format!("loss 1 %: lost of {count}"),
        goal: format!("{low} to {high}"),
        cells: emulators.iter().map(cell).collect(),
    }]
}

/// How many of `count` datagrams arrive.
fn received(fixture: &Fixture, count: u32) -> u32 {
    let far = Fixture::inside(&fixture.far, || UdpSocket::bind((FAR, 0)).unwrap());
    setsockopt(&far, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES).unwrap();
    far.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let near = Fixture::inside(&fixture.near, || UdpSocket::bind((NEAR, 0)).unwrap());
    near.connect(far.local_addr().unwrap()).unwrap();
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let mut buffer = [0; 4];
            (0..count).map_while(|_| far.recv(&mut buffer).ok()).count()
        });
        let started = Instant::now();
        for number in 0..count {
            if number % BURST == 0 {
                let at = started + BURST_GAP * (number / BURST);
                std::thread::sleep(at.saturating_duration_since(Instant::now()));
            }
            near.send(&number.to_be_bytes()).unwrap();
        }
        u32::try_from(receiver.join().unwrap()).unwrap()
    })
}
