//! Goodput: the fraction of a rate that is TCP payload. The shaper counts bytes from the IP header on, so 1448 of each
//! 1500 bytes are payload: 0.965 on a perfect link.

use std::time::Duration;

use crate::Effort;
use crate::bulk::{SendBuffer, bits_per_second};
use crate::emulator::Emulator;
use crate::fixture::Fixture;
use crate::table::{Cell, Row};

/// Rate in Mbit/s, and length of the measurement window in seconds.
const RATES_MBIT: [(u32, u32); 2] = [(1, 12), (10, 6)];
/// Time for connecting and the first window, which are not part of the rate.
const WARM_UP: Duration = Duration::from_secs(1);
const BUFFER: SendBuffer = SendBuffer::Bytes(64 * 1024);

pub(crate) fn rows(fixture: &Fixture, emulators: &[Emulator], effort: Effort) -> Vec<Row> {
    RATES_MBIT.into_iter().map(|(rate, seconds)| row(fixture, emulators, rate, effort.of(seconds))).collect()
}

fn row(fixture: &Fixture, emulators: &[Emulator], rate: u32, seconds: u32) -> Row {
    let cell = |emulator: &Emulator| {
        if emulator.is_unshaped() {
            return Cell::without_target("");
        }
        let in_force = emulator.impose(fixture, &format!(r#"{{"rate":"{rate}Mbit"}}"#), 1);
        let window = [WARM_UP, Duration::from_secs(seconds.into())];
        let fraction = bits_per_second(fixture, 1, BUFFER, window, |_| ()) / (f64::from(rate) * 1e6);
        drop(in_force);
        Cell::judged(format!("{fraction:.4}"), (0.955..=0.970).contains(&fraction))
    };
    Row {
        what: format!("rate {rate} Mbit/s: goodput as a fraction of it, over {seconds} s"),
        target: "0.955 to 0.970".to_owned(),
        cells: emulators.iter().map(cell).collect(),
    }
}
