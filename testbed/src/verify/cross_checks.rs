//! What the workload itself and the emulator's counts prove of a condition. Pure; the probe's part is in `probe`.

use model::Condition;
use model::sample::Sample;

use crate::emulator::LinkCounters;
use crate::verify::probe_plan::is_plausible;

/// A packet this late is worth a note, milliseconds.
const LATE_MS: f64 = 5.0;
/// A round trip may be quicker than the delay by this, milliseconds …
const QUICKER_MS: f64 = 0.3;
/// … or by this share of it, whichever is more.
const QUICKER_SHARE: f64 = 0.01;
/// Segments in the largest bundle, 64 KiB, of the smallest size that Ethernet's MTU makes likely.
const MAX_SEGMENTS: f64 = 50.0;
/// The device may send so many packets that are none of the link's: ARP, and what was on its way between two looks …
const STRAY_PACKETS: f64 = 50.0;
/// … and this share.
const STRAY_SHARE: f64 = 0.01;

/// What speaks against a cell's condition, and what does not but should be known.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Findings {
    pub(crate) problems: Vec<String>,
    pub(crate) notes: Vec<String>,
}

/// Whether the emulator's own counts over the cell fit what was asked.
pub(crate) fn of_counters(requested: &Condition, counters: &LinkCounters) -> Findings {
    let mut found = Findings::default();
    if counters.unintended_drops > 0 {
        let packets = counters.unintended_drops;
        found
            .problems
            .push(format!("the emulator could not handle {packets} packets: host overloaded, or memory limit reached"));
    }
    match counters.queue_full {
        Some(full) if full > 0 && requested.rate.is_none() => {
            found.problems.push(format!("{full} packets found the link's queue full, though no rate was asked"));
        }
        Some(full) if full > 0 => found.notes.push(format!("{full} packets found the link's queue full")),
        _ => {}
    }
    let packets = counters.loss_candidates();
    if let Some(lost) = counters.lost.filter(|lost| !is_plausible(*lost, packets, requested.loss.fraction())) {
        found.problems.push(format!("loss: asked {}, the link dropped {lost} of {packets} packets", requested.loss));
    }
    if let Some(late) = counters.max_lateness_ms.filter(|late| *late > LATE_MS) {
        found.notes.push(format!("a packet left {late:.1} ms late"));
    }
    found
}

/// Whether all that the server's device sent went through the link. `device` counts packets since the condition was set, a
/// bundle of segments as one; the link counts segments, and may let them out in bundles under a delay alone. An emulator
/// that does not count segments can't be compared.
pub(crate) fn of_device(requested: &Condition, counters: &LinkCounters, device: u64) -> Option<String> {
    counters.lost?;
    let (through, device) = (counters.sent as f64, device as f64);
    let allowed = STRAY_PACKETS + STRAY_SHARE * device;
    let fewest = if requested.keeps_gso_packets() { through / MAX_SEGMENTS } else { through };
    (device > through + allowed || device < fewest - allowed)
        .then(|| format!("way: the server's device sent {device} packets, the link let {through} through"))
}

/// Whether any operation met a link without the delay: no round trip can be quicker, at any time of the cell.
pub(crate) fn of_round_trips(requested: &Condition, samples: &[Sample]) -> Option<String> {
    let delay = requested.delay.as_duration().as_secs_f64() * 1e3;
    let least = delay - requested.jitter.as_duration().as_secs_f64() * 1e3 - QUICKER_MS.max(QUICKER_SHARE * delay);
    let quickest = |sample: &Sample| {
        let whole = sample.rtt_ms.filter(|_| sample.response_bytes.is_some());
        sample.connect_ms.into_iter().chain(whole).reduce(f64::min)
    };
    let quick: Vec<f64> = samples.iter().filter_map(quickest).filter(|round_trip| *round_trip < least).collect();
    let first = quick.iter().copied().reduce(f64::min)?;
    Some(format!(
        "delay: {} of {} operations had a round trip quicker than the delay of {delay} ms ({first:.2} ms): it was not in \
         force all the time",
        quick.len(),
        samples.len()
    ))
}

#[cfg(test)]
mod tests {
    use model::sample::Outcome;

    use super::*;

    fn condition(json: &str) -> Condition {
        serde_json::from_str(json).unwrap()
    }

    fn counters() -> LinkCounters {
        LinkCounters { sent: 10_000, dropped: 100, lost: Some(100), queue_full: Some(0), ..LinkCounters::default() }
    }

    #[test]
    fn counts_that_do_not_fit_are_problems_and_lateness_is_a_note() {
        let one_percent = condition(r#"{"loss":"1%"}"#);
        assert_eq!(of_counters(&one_percent, &counters()), Findings::default());
        for (counters, expected) in [
            (LinkCounters { lost: Some(300), ..counters() }, "the link dropped 300 of 10300"),
            (LinkCounters { sent: 5_000, queue_full: Some(5_000), ..counters() }, "queue full, though no rate"),
            (LinkCounters { unintended_drops: 1, ..counters() }, "could not handle 1 packets"),
            (LinkCounters { queue_full: Some(3), ..counters() }, "queue full, though no rate"),
        ] {
            let found = of_counters(&one_percent, &counters);
            assert!(found.problems.join("; ").contains(expected), "{found:?}");
        }
        // Those that found the queue full had met the loss before.
        let narrow = condition(r#"{"loss":"1%","rate":"1Mbit"}"#);
        let full = LinkCounters { sent: 5_000, queue_full: Some(5_000), ..counters() };
        assert!(of_counters(&narrow, &full).problems.is_empty());
        let late = LinkCounters { max_lateness_ms: Some(9.0), ..counters() };
        let found = of_counters(&one_percent, &late);
        assert!(found.problems.is_empty() && found.notes[0].contains("9.0 ms late"), "{found:?}");
    }

    #[test]
    fn packets_that_went_around_the_link_are_seen() {
        let (loss, delay) = (condition(r#"{"loss":"1%"}"#), condition(r#"{"delay":"50ms"}"#));
        assert_eq!(of_device(&loss, &counters(), 10_010), None);
        assert!(of_device(&loss, &counters(), 12_000).unwrap().contains("12000 packets, the link let 10000 through"));
        assert!(of_device(&loss, &counters(), 5_000).is_some());
        assert_eq!(of_device(&delay, &counters(), 5_000), None, "in bundles of two");
        assert!(of_device(&delay, &counters(), 12_000).is_some() && of_device(&delay, &counters(), 100).is_some());
        assert_eq!(of_device(&loss, &LinkCounters { lost: None, ..counters() }, 0), None);
    }

    #[test]
    fn an_operation_quicker_than_the_delay_shows_that_it_was_not_in_force() {
        let answered = |connect: Option<f64>, rtt: f64| Sample {
            connect_ms: connect,
            rtt_ms: Some(rtt),
            response_bytes: Some(100),
            ..Sample::tried("login", Outcome::Ok, rtt)
        };
        let requested = condition(r#"{"delay":"50ms"}"#);
        let whole = [answered(Some(50.1), 50.4), answered(None, 49.9)];
        assert_eq!(of_round_trips(&requested, &whole), None);
        for quick in [answered(Some(0.2), 50.4), answered(None, 0.5)] {
            let words = of_round_trips(&requested, &[whole[0].clone(), quick]).unwrap();
            assert!(words.contains("1 of 2 operations"), "{words}");
        }
        // Neither a bare link nor jitter asks for more than it has.
        assert_eq!(of_round_trips(&Condition::BASELINE, &[answered(None, 0.1)]), None);
        assert_eq!(of_round_trips(&condition(r#"{"delay":"50ms","jitter":"10ms"}"#), &[answered(None, 41.0)]), None);
    }
}
