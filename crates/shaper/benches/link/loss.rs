//! Loss: counts the datagrams that do not arrive.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use crate::Effort;
use crate::emulator::Emulator;
use crate::fixture::{FAR, Fixture, NEAR};
use crate::statistics::binomial_interval_99;
use crate::table::{Cell, Row};

const PACKETS: u32 = 100_000;
const PROBABILITY: f64 = 0.01;
/// Fixed seed: with random draws the check would fail once in a hundred times.
const SEED: u64 = 1;
/// Packets per burst: few enough for every queue on the path, and 50 000 per second.
const BURST: u32 = 50;
const BURST_GAP: Duration = Duration::from_millis(1);
const RECEIVE_BUFFER_BYTES: usize = 64 << 20;

pub(crate) fn rows(fixture: &Fixture, emulators: &[Emulator], effort: Effort) -> Vec<Row> {
    let count = effort.of(PACKETS);
    let (low, high) = binomial_interval_99(count, PROBABILITY);
    let cell = |emulator: &Emulator| {
        let _in_force = emulator.impose(fixture, r#"{"loss":"1%"}"#, SEED);
        let lost = count - received(fixture, count);
        let text = format!("{lost} ({:.3} %)", 100.0 * f64::from(lost) / f64::from(count));
        if emulator.is_unshaped() {
            Cell::without_target(text)
        } else {
            Cell::judged(text, (low..=high).contains(&lost))
        }
    };
    vec![Row {
        what: format!("loss 1 %: lost of {count}"),
        target: format!("{low} to {high}"),
        cells: emulators.iter().map(cell).collect(),
    }]
}

/// Sends `count` datagrams and returns how many arrive.
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
