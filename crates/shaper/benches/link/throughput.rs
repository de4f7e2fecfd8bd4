//! Throughput of TCP with a delay of 10 ms and no other impairment, and the CPU time that the shaper uses.
//!
//! On few cores the result is not the limit of the shaper alone: sender, receiver and kernel use the same cores.

use std::time::{Duration, Instant};

use crate::Effort;
use crate::bulk::{SendBuffer, WindowEdge, bits_per_second};
use crate::emulator::{Emulator, InForce};
use crate::fixture::Fixture;
use crate::table::{Cell, Row};

/// Number of streams, note in the row, and condition. With a queue limit the shaper handles each wire packet
/// separately, as with loss, jitter or a rate.
const ROWS: [(u32, &str, &str); 3] = [
    (1, "", r#"{"delay":"10ms"}"#),
    (4, "", r#"{"delay":"10ms"}"#),
    (4, ", each wire packet separately", r#"{"delay":"10ms","queue_limit":"1000000"}"#),
];
/// Time after which slow start with 10 ms of delay and its overshoot have ended.
const WARM_UP: Duration = Duration::from_millis(1_500);
const SECONDS: u32 = 5;
const TARGET_BITS_PER_SECOND: f64 = 2e9;
/// Socket buffers, large enough that no window is the limit: 2 Gbit/s with 10 ms are 2.5 MB, and the kernel adds its
/// overhead.
const BUFFERS: &str = "4096 1048576 67108864";

pub(crate) fn rows(fixture: &Fixture, emulators: &[Emulator], effort: Effort) -> Vec<Row> {
    for namespace in [&fixture.near, &fixture.far] {
        Fixture::inside(namespace, || {
            for name in ["tcp_rmem", "tcp_wmem"] {
                std::fs::write(format!("/proc/sys/net/ipv4/{name}"), BUFFERS).unwrap();
            }
        });
    }
    ROWS.into_iter()
        .map(|(streams, note, condition)| row(fixture, emulators, streams, note, condition, effort))
        .collect()
}

fn row(fixture: &Fixture, emulators: &[Emulator], streams: u32, note: &str, condition: &str, effort: Effort) -> Row {
    let has_target = note.is_empty();
    let cell = |emulator: &Emulator| {
        let in_force = emulator.impose(fixture, condition, 1);
        let mut cpu = CpuUsage::default();
        let window = [WARM_UP, Duration::from_secs(effort.of(SECONDS).into())];
        let throughput = bits_per_second(fixture, streams, SendBuffer::Kernel, window, |edge| {
            cpu.record(edge, || in_force.cpu_seconds())
        });
        let tun_drops = if let InForce::Shaper(_) = in_force { fixture.status("show").tun_drops } else { 0 };
        drop(in_force);
        let tun_drops = if tun_drops > 0 { format!(", {tun_drops} dropped before the shaper") } else { String::new() };
        let text = format!("{:.2} Gbit/s{}{tun_drops}", throughput / 1e9, cpu.text());
        if emulator.is_unshaped() || !has_target {
            Cell::without_target(text)
        } else {
            Cell::judged(text, throughput >= TARGET_BITS_PER_SECOND)
        }
    };
    Row {
        what: format!("delay 10 ms (unshaped link: none){note}: throughput, {streams} stream(s); shaper's CPU time"),
        target: if has_target { "≥ 2 Gbit/s" } else { "" }.to_owned(),
        cells: emulators.iter().map(cell).collect(),
    }
}

/// CPU time divided by wall time, over the measurement window.
#[derive(Default)]
struct CpuUsage {
    start: Option<(Instant, f64)>,
    fraction: Option<f64>,
}

impl CpuUsage {
    fn record(&mut self, edge: WindowEdge, used: impl Fn() -> Option<f64>) {
        let Some(used) = used() else { return };
        match (edge, self.start) {
            (WindowEdge::End, Some((at, before))) => self.fraction = Some((used - before) / at.elapsed().as_secs_f64()),
            _ => self.start = Some((Instant::now(), used)),
        }
    }

    fn text(&self) -> String {
        self.fraction.map(|fraction| format!(", {fraction:.2} s/s")).unwrap_or_default()
    }
}
