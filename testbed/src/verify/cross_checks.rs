//! Checks the emulator's counters and the operations' RTTs against the condition. Pure; `probe_plan` evaluates the
//! probe.

use model::Condition;
use model::sample::Sample;

use crate::emulator::LinkCounters;
use crate::verify::probe_plan::is_plausible;

/// Lateness of a packet above which a note is added, milliseconds.
const LATENESS_THRESHOLD_MS: f64 = 5.0;
/// An RTT may be below the requested delay by this, milliseconds …
const RTT_TOLERANCE_MS: f64 = 0.3;
/// … or by this share of the delay, whichever is more.
const RTT_TOLERANCE_SHARE: f64 = 0.01;
/// Segments of the largest GSO packet, 64 KiB, at the smallest size that Ethernet's MTU makes likely.
const MAX_GSO_SEGMENTS: f64 = 50.0;
/// The interface may send this many packets that the link does not count: ARP, and packets in flight between the two
/// readings …
const UNCOUNTED_PACKETS: f64 = 50.0;
/// … and this share of all.
const UNCOUNTED_SHARE: f64 = 0.01;

/// Problems, which make a cell unverified, and notes, which do not change its verdict.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Findings {
    pub(crate) problems: Vec<String>,
    pub(crate) notes: Vec<String>,
}

/// Checks the emulator's counters over the cell against the requested condition.
pub(crate) fn of_counters(requested: &Condition, counters: &LinkCounters) -> Findings {
    let mut found = Findings::default();
    if counters.unintended_drops > 0 {
        let packets = counters.unintended_drops;
        found.problems.push(format!(
            "emulator lost {packets} packets unintentionally (host overloaded, or memory limit reached?)"
        ));
    }
    match counters.queue_full {
        Some(full) if full > 0 && requested.rate.is_none() => {
            found.problems.push(format!("{full} packets dropped at a full link queue, although no rate was requested"));
        }
        Some(full) if full > 0 => found.notes.push(format!("{full} packets dropped at a full link queue")),
        _ => {}
    }
    let packets = counters.loss_candidates();
    if let Some(lost) = counters.lost.filter(|lost| !is_plausible(*lost, packets, requested.loss.fraction())) {
        found
            .problems
            .push(format!("loss: requested {}, the link dropped {lost} of {packets} packets", requested.loss));
    }
    if let Some(late) = counters.max_lateness_ms.filter(|late| *late > LATENESS_THRESHOLD_MS) {
        found.notes.push(format!("maximum lateness of a packet in the emulator: {late:.1} ms"));
    }
    found
}

/// Checks that all packets of the server's interface passed the link. `interface` counts packets since the condition
/// was set, a GSO packet as one. The link counts wire packets, and forwards GSO packets whole if the condition is only
/// a delay. An emulator that does not count wire packets cannot be compared.
pub(crate) fn of_device(requested: &Condition, counters: &LinkCounters, interface: u64) -> Option<String> {
    counters.lost?;
    let (forwarded, interface) = (counters.sent as f64, interface as f64);
    let tolerance = UNCOUNTED_PACKETS + UNCOUNTED_SHARE * interface;
    let min = if requested.keeps_gso_packets() { forwarded / MAX_GSO_SEGMENTS } else { forwarded };
    (interface > forwarded + tolerance || interface < min - tolerance)
        .then(|| format!("path: interface sent {interface} packets, emulator forwarded {forwarded}"))
}

/// Checks that no operation had an RTT below the delay: one that has shows that the delay was not active all the time.
pub(crate) fn of_round_trips(requested: &Condition, samples: &[Sample]) -> Option<String> {
    let delay = requested.delay.as_duration().as_secs_f64() * 1e3;
    let jitter = requested.jitter.as_duration().as_secs_f64() * 1e3;
    let min = delay - jitter - RTT_TOLERANCE_MS.max(RTT_TOLERANCE_SHARE * delay);
    let min_rtt = |sample: &Sample| {
        let rtt = sample.rtt_ms.filter(|_| sample.response_bytes.is_some());
        let handshakes = sample.connect_ms.into_iter().chain(sample.tls_ms);
        handshakes.chain(rtt).reduce(f64::min)
    };
    let too_short: Vec<f64> = samples.iter().filter_map(min_rtt).filter(|rtt| *rtt < min).collect();
    let shortest = too_short.iter().copied().reduce(f64::min)?;
    Some(format!(
        "delay: {} of {} operations had an RTT below the requested {delay} ms (minimum {shortest:.2} ms): the delay \
         was not always active",
        too_short.len(),
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
    fn implausible_counters_are_problems_and_lateness_is_a_note() {
        let one_percent = condition(r#"{"loss":"1%"}"#);
        assert_eq!(of_counters(&one_percent, &counters()), Findings::default());
        for (counters, expected) in [
            (LinkCounters { lost: Some(300), ..counters() }, "the link dropped 300 of 10300"),
            (LinkCounters { sent: 5_000, queue_full: Some(5_000), ..counters() }, "full link queue, although no rate"),
            (LinkCounters { unintended_drops: 1, ..counters() }, "emulator lost 1 packets unintentionally"),
            (LinkCounters { queue_full: Some(3), ..counters() }, "full link queue, although no rate"),
        ] {
            let found = of_counters(&one_percent, &counters);
            assert!(found.problems.join("; ").contains(expected), "{found:?}");
        }
        // The loss applies before the queue: packets that were dropped at the full queue count for it.
        let low_rate = condition(r#"{"loss":"1%","rate":"1Mbit"}"#);
        let full = LinkCounters { sent: 5_000, queue_full: Some(5_000), ..counters() };
        assert!(of_counters(&low_rate, &full).problems.is_empty());
        let late = LinkCounters { max_lateness_ms: Some(9.0), ..counters() };
        let found = of_counters(&one_percent, &late);
        assert!(found.problems.is_empty() && found.notes[0].contains("9.0 ms"), "{found:?}");
    }

    #[test]
    fn packets_that_bypass_the_link_are_detected() {
        let (loss, delay) = (condition(r#"{"loss":"1%"}"#), condition(r#"{"delay":"50ms"}"#));
        assert_eq!(of_device(&loss, &counters(), 10_010), None);
        assert!(of_device(&loss, &counters(), 12_000).unwrap().contains("12000 packets, emulator forwarded 10000"));
        assert!(of_device(&loss, &counters(), 5_000).is_some());
        assert_eq!(of_device(&delay, &counters(), 5_000), None, "GSO packets of two segments");
        assert!(of_device(&delay, &counters(), 12_000).is_some() && of_device(&delay, &counters(), 100).is_some());
        assert_eq!(of_device(&loss, &LinkCounters { lost: None, ..counters() }, 0), None);
    }

    #[test]
    fn an_operation_with_an_rtt_below_the_delay_shows_that_it_was_not_active() {
        let sample = |connect: Option<f64>, rtt: f64| Sample {
            connect_ms: connect,
            rtt_ms: Some(rtt),
            response_bytes: Some(100),
            ..Sample::with_latency("login", Outcome::Ok, rtt)
        };
        let requested = condition(r#"{"delay":"50ms"}"#);
        let delayed = [sample(Some(50.1), 50.4), sample(None, 49.9)];
        assert_eq!(of_round_trips(&requested, &delayed), None);
        let tls = Sample { tls_ms: Some(1.0), ..sample(Some(50.1), 50.4) };
        for too_short in [sample(Some(0.2), 50.4), sample(None, 0.5), tls] {
            let problem = of_round_trips(&requested, &[delayed[0].clone(), too_short]).unwrap();
            assert!(problem.contains("1 of 2 operations"), "{problem}");
        }
        // An unshaped link has no minimum; jitter lowers the minimum.
        assert_eq!(of_round_trips(&Condition::BASELINE, &[sample(None, 0.1)]), None);
        assert_eq!(of_round_trips(&condition(r#"{"delay":"50ms","jitter":"10ms"}"#), &[sample(None, 41.0)]), None);
    }
}
