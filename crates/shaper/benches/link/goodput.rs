//! Goodput: the share of a rate that a program on TCP gets of it. The shaper counts from the IP header on, so of each
//! 1500 bytes 1448 are the program's: 0.965 is what a perfect link gives.

use std::time::Duration;

use crate::Effort;
use crate::bulk::{SendBuffer, bits_per_second};
use crate::emulator::Emulator;
use crate::fixture::Fixture;
use crate::table::{Cell, Row};

/// Rate, and seconds to measure after the cut.
const RATES_MBIT: [(u32, u32); 2] = [(1, 12), (10, 6)];
/// Connecting and the first window are not the rate.
const CUT: Duration = Duration::from_secs(1);
const BUFFER: SendBuffer = SendBuffer::Bytes(64 * 1024);

pub(crate) fn rows(fixture: &Fixture, emulators: &[Emulator], effort: Effort) -> Vec<Row> {
    RATES_MBIT.into_iter().map(|(rate, seconds)| row(fixture, emulators, rate, effort.of(seconds))).collect()
}

fn row(fixture: &Fixture, emulators: &[Emulator], rate: u32, seconds: u32) -> Row {
    let cell = |emulator: &Emulator| {
        if emulator.is_bare() {
            return Cell::without_goal("");
        }
        let in_force = emulator.impose(fixture, &format!(r#"{{"rate":"{rate}Mbit"}}"#), 1);
        let window = [CUT, Duration::from_secs(seconds.into())];
        let share = bits_per_second(fixture, 1, BUFFER, window, |_| ()) / (f64::from(rate) * 1e6);
        drop(in_force);
        Cell::judged(format!("{share:.4}"), (0.955..=0.970).contains(&share))
    };
    Row {
        what: format!("rate {rate} Mbit/s: goodput as a share of it, over {seconds} s"),
        goal: "0.955 to 0.970".to_owned(),
        cells: emulators.iter().map(cell).collect(),
    }
}
