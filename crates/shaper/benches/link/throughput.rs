//! Throughput: what TCP carries over 10 ms of delay and nothing else, and what CPU time the shaper takes for it.
//!
//! On few cores it is not the shaper's limit alone: sender, receiver and the kernel's work for both share them.

use std::time::{Duration, Instant};

use crate::Effort;
use crate::bulk::{Moment, SendBuffer, bits_per_second};
use crate::emulator::{Emulator, InForce};
use crate::fixture::Fixture;
use crate::table::{Cell, Row};

/// Streams, what the row says of the packets, and the condition. With a queue limit of its own the shaper handles each
/// packet for itself, as with loss, jitter or a rate.
const ROWS: [(u32, &str, &str); 3] = [
    (1, "", r#"{"delay":"10ms"}"#),
    (4, "", r#"{"delay":"10ms"}"#),
    (4, ", each packet for itself", r#"{"delay":"10ms","queue_limit":"1000000"}"#),
];
/// Slow start over 10 ms, and what it overshoots, are through by then.
const CUT: Duration = Duration::from_millis(1_500);
const SECONDS: u32 = 5;
const GOAL_BITS_PER_SECOND: f64 = 2e9;
/// So that no window is the limit: 2 Gbit/s over 10 ms are 2.5 MB, and the kernel counts its own overhead in it.
const BUFFERS: &str = "4096 1048576 67108864";

pub(crate) fn rows(fixture: &Fixture, emulators: &[Emulator], effort: Effort) -> Vec<Row> {
    for namespace in [&fixture.near, &fixture.far] {
        Fixture::inside(namespace, || {
            for name in ["tcp_rmem", "tcp_wmem"] {
                std::fs::write(format!("/proc/sys/net/ipv4/{name}"), BUFFERS).unwrap();
            }
        });
    }
    ROWS.into_iter().map(|(streams, how, condition)| row(fixture, emulators, streams, how, condition, effort)).collect()
}

fn row(fixture: &Fixture, emulators: &[Emulator], streams: u32, how: &str, condition: &str, effort: Effort) -> Row {
    let has_goal = how.is_empty();
    let cell = |emulator: &Emulator| {
        let in_force = emulator.impose(fixture, condition, 1);
        let mut cpu = CpuShare::default();
        let window = [CUT, Duration::from_secs(effort.of(SECONDS).into())];
        let carried = bits_per_second(fixture, streams, SendBuffer::Kernel, window, |moment| {
            cpu.note(moment, || in_force.cpu_seconds())
        });
        let unread = if let InForce::Shaper(_) = in_force { fixture.status("show").tun_drops } else { 0 };
        drop(in_force);
        let unread = if unread > 0 { format!(", {unread} lost before it") } else { String::new() };
        let text = format!("{:.2} Gbit/s{}{unread}", carried / 1e9, cpu.text());
        if emulator.is_bare() || !has_goal {
            Cell::without_goal(text)
        } else {
            Cell::judged(text, carried >= GOAL_BITS_PER_SECOND)
        }
    };
    Row {
        what: format!("delay 10 ms (unshaped link: none){how}: throughput, {streams} stream(s); shaper's CPU time"),
        goal: if has_goal { "≥ 2 Gbit/s" } else { "" }.to_owned(),
        cells: emulators.iter().map(cell).collect(),
    }
}

/// CPU time over wall time between two moments.
#[derive(Default)]
struct CpuShare {
    from: Option<(Instant, f64)>,
    share: Option<f64>,
}

impl CpuShare {
    fn note(&mut self, moment: Moment, used: impl Fn() -> Option<f64>) {
        let Some(used) = used() else { return };
        match (moment, self.from) {
            (Moment::End, Some((at, before))) => self.share = Some((used - before) / at.elapsed().as_secs_f64()),
            _ => self.from = Some((Instant::now(), used)),
        }
    }

    fn text(&self) -> String {
        self.share.map(|share| format!(", {share:.2} s/s")).unwrap_or_default()
    }
}
