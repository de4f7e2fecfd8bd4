//! Summary of a finished cell in one line: requested condition, measured values, verdict.

use analysis::{Distribution, measured_latencies};
use console::Style;
use model::{Condition, Delay, Sample};

use crate::store::cell_row::{CellRow, Verdict};

/// Returns the line of a cell: `loss 2 %: measured 1.96 % (186 of 9,479), 1,802 operations, …, verified`. Problems and
/// notes follow on separate lines. With `is_coloured`, the verdict is coloured if stderr is a terminal and NO_COLOR is
/// not set.
pub(super) fn cell_line(row: &CellRow, condition: &Condition, samples: &[Sample], is_coloured: bool) -> String {
    let paint = |style: Style, text: &str| {
        if is_coloured { style.for_stderr().apply_to(text).to_string() } else { text.to_owned() }
    };
    let (verdict, style) = match row.verdict {
        Verdict::Verified => ("verified", Style::new().green()),
        Verdict::Unverified => ("UNVERIFIED", Style::new().red()),
        Verdict::Failed => ("FAILED", Style::new().red()),
        Verdict::Interrupted => ("interrupted", Style::new().yellow()),
    };
    let mut info = Vec::new();
    let measured = measured(row, condition);
    if !measured.is_empty() {
        info.push(format!("measured {}", measured.join(", ")));
    }
    info.push(format!("{} operations", grouped(row.operations)));
    if row.errors > 0 {
        info.push(format!("{} errors", grouped(row.errors)));
    }
    info.extend(latencies(samples));
    info.push(paint(style, verdict));
    if !row.overload_reasons.is_empty() {
        info.push(format!("{}: {}", paint(Style::new().yellow(), "OVERLOADED"), row.overload_reasons));
    }
    if !row.server_stall.is_empty() {
        info.push(format!("{}: {}", paint(Style::new().yellow(), "SERVER STALLED"), row.server_stall));
    }
    let mut text = format!("{} {}: {}", row.condition, spaced(&row.value), info.join(", "));
    for note in [&row.problems, &row.notes].into_iter().filter(|note| !note.is_empty()) {
        text.push_str(&format!("\n    {}", note.trim()));
    }
    text
}

/// Returns the measured values of the requested impairments; of a combined condition with their names.
fn measured(row: &CellRow, condition: &Condition) -> Vec<String> {
    let is_combined = row.condition == "combined";
    let is_shown = |name: &str, is_set: bool| row.condition == name || (is_combined && is_set);
    let impairments = [
        ("delay", condition.delay != Delay::ZERO, row.achieved_delay_ms.map(|delay| format!("{} ms", short(delay)))),
        (
            "jitter",
            condition.jitter != Delay::ZERO,
            row.achieved_jitter_ms.map(|jitter| format!("{} ms", short(jitter))),
        ),
        ("loss", condition.loss.fraction() > 0.0, measured_loss(row)),
        ("rate", condition.rate.is_some(), row.achieved_rate_kbit.map(|rate| format!("{} kbit/s", short(rate)))),
    ];
    let shown = impairments.into_iter().filter(|(name, is_set, _)| is_shown(name, *is_set));
    shown.filter_map(|(name, _, value)| Some(if is_combined { format!("{name} {}", value?) } else { value? })).collect()
}

/// Returns the packet loss: of all packets in the emulator if it counts them, otherwise of the probe's.
fn measured_loss(row: &CellRow) -> Option<String> {
    let of = |percent: f64, lost: u64, all: u64, what: &str| {
        format!("{} % ({} of {}{what})", short(percent), grouped(lost), grouped(all))
    };
    if let (Some(percent), Some(dropped), Some(sent)) = (row.achieved_loss_percent, row.link_dropped, row.link_sent) {
        let lost = dropped - row.link_dropped_queue_full.unwrap_or(0).min(dropped);
        return Some(of(percent, lost, sent + dropped, ""));
    }
    let (lost, sent) = (u64::from(row.probe_lost), u64::from(row.probe_sent));
    (sent > 0).then(|| of(lost as f64 / sent as f64 * 100.0, lost, sent, " probe packets"))
}

/// Returns p50 and p99 of the latency of successful operations in the measurement window.
fn latencies(samples: &[Sample]) -> Vec<String> {
    let latency = Distribution::of(&measured_latencies(samples));
    let named = [("p50", latency.p50), ("p99", latency.p99)];
    named.into_iter().filter_map(|(name, value)| Some(format!("{name} {} ms", short(value?)))).collect()
}

/// Formats with three significant digits; from 100, as a grouped whole number.
fn short(value: f64) -> String {
    match value.abs() {
        size if size < 9.995 => format!("{value:.2}"),
        size if size < 99.95 => format!("{value:.1}"),
        _ => grouped(value.round() as u64),
    }
}

/// Formats `9479` as `9,479`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats `50ms+1%` as `50 ms + 1 %`.
fn spaced(value: &str) -> String {
    let parts = value.split('+').map(|part| match part.find(|c: char| !c.is_ascii_digit() && c != '.') {
        Some(unit) if unit > 0 => format!("{} {}", &part[..unit], &part[unit..]),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join(" + ")
}

#[cfg(test)]
mod tests {
    use model::{Outcome, Phase};

    use super::*;
    use crate::scenario::plan;
    use crate::scenario::tests::default_with;
    use model::Cell;

    fn cell(condition: &str) -> Cell {
        plan::cells(&default_with(&["--combined", condition]), 1).remove(0)
    }

    fn line(row: &CellRow, cell: &Cell) -> String {
        let sample = |latency| Sample::with_latency("login", Outcome::Ok, latency);
        let warm_up = Sample { phase: Phase::WarmUp, ..sample(90_000.0) };
        cell_line(row, &cell.condition, &[sample(1.06), sample(1.06), sample(1023.4), warm_up], false)
    }

    #[test]
    fn the_line_of_a_finished_cell_shows_the_requested_and_the_measured_condition() {
        let combined = cell("loss=2%,delay=50ms");
        let mut row = CellRow::new(&combined, 0.1);
        (row.verdict, row.operations) = (Verdict::Verified, 1_802);
        (row.achieved_loss_percent, row.achieved_delay_ms) = (Some(1.962), Some(50.061));
        (row.link_sent, row.link_dropped, row.link_dropped_queue_full) = (Some(9_293), Some(186), Some(0));
        assert_eq!(
            line(&row, &combined),
            "combined 50 ms + 2 %: measured delay 50.1 ms, loss 1.96 % (186 of 9,479), 1,802 operations, p50 1.06 ms, \
             p99 1,003 ms, verified"
        );
        (row.condition, row.value) = ("loss".to_owned(), "2%".to_owned());
        (row.errors, row.verdict) = (3, Verdict::Unverified);
        (row.overload_reasons, row.problems) = ("CPU 99 %".to_owned(), "after: delay".to_owned());
        assert_eq!(
            line(&row, &combined),
            "loss 2 %: measured 1.96 % (186 of 9,479), 1,802 operations, 3 errors, p50 1.06 ms, p99 1,003 ms, \
             UNVERIFIED, OVERLOADED: CPU 99 %\n    after: delay"
        );
        (row.achieved_loss_percent, row.probe_sent, row.probe_lost) = (None, 800, 15);
        assert!(
            line(&row, &combined).contains("measured 1.88 % (15 of 800 probe packets)"),
            "{}",
            line(&row, &combined)
        );
    }

    #[test]
    fn numbers_are_rounded_and_grouped_and_values_are_spaced() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.004, 9.996, 99.96, 1_234.5].map(short), ["0.00", "10.0", "100", "1,235"]);
        assert_eq!(["0", "2%", "50ms", "1Mbit", "none"].map(spaced), ["0", "2 %", "50 ms", "1 Mbit", "none"]);
    }
}
