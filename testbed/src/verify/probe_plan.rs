//! The probe: which packets to send through the link for a condition, and what their answers prove. Pure.
//!
//! Echo requests go from a client to the server's kernel, whose replies take the shaped way back. `docs/measuring.md`
//! states the tolerances below to users.

use model::{Condition, Delay};

use crate::verify::binomial::LOSS_SIGNIFICANCE;
pub(crate) use crate::verify::binomial::is_plausible;
pub(crate) use crate::verify::jitter::Spread;

/// Delay may be off by this much, milliseconds, but not by more than half of what was asked …
const DELAY_TOLERANCE_MS: f64 = 1.0;
/// … or by this share of what was asked, whichever is more.
const DELAY_TOLERANCE_SHARE: f64 = 0.02;
/// A rate may be off by this share of what was asked.
const RATE_TOLERANCE_SHARE: f64 = 0.05;

/// Echo requests when no loss has to be counted.
const MIN_ECHOES: u32 = 100;
/// How long the small echoes may take, on a slow link: what they can't show then is doubted.
pub(super) const MAX_PROBE_US: u64 = 60_000_000;
/// Most echo requests that are sent to count losses.
const MAX_ECHOES: u32 = 8_000;
/// Expected losses that make "none at all" improbable enough (e^-8 = 0.0003).
const EXPECTED_LOSSES: f64 = 8.0;
/// Payload of a small echo request and its size as an IP packet, bytes.
pub(crate) const ECHO_PAYLOAD_BYTES: u32 = 56;
const ECHO_PACKET_BITS: f64 = 84.0 * 8.0;
/// Share of a limited rate that the small echoes may take, so that they do not queue.
const ECHO_SHARE_OF_RATE: f64 = 0.2;
/// Payload of a packet of the burst that measures a rate, bytes.
pub(crate) const BURST_PAYLOAD_BYTES: u32 = 1_400;
const BURST_PACKET_BITS: f64 = 1_428.0 * 8.0;
/// Packets in a burst: the server's kernel keeps no more replies waiting.
const BURST_PACKETS: (u32, u32) = (12, 40);
/// How long a burst should take at most, seconds.
const BURST_SECONDS: f64 = 1.5;
/// How long a reply is waited for on a link without delay, milliseconds.
const PATIENCE_MS: u64 = 500;
/// A burst this slow, where no rate was asked and the bare link is faster, met one all the same, bits per second.
const UNASKED_RATE: f64 = 20_000_000.0;
/// Above this rate a burst is over too soon to be timed, bits per second.
const MAX_VERIFIABLE_RATE: u64 = 200_000_000;

/// What to send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ProbePlan {
    /// Small echo requests, one after the other.
    pub(crate) close: Train,
    /// As many as show the jitter, so far apart that they do not meet in the link.
    pub(crate) spaced: Option<Train>,
    /// Large echo requests back to back, to measure a rate.
    pub(crate) burst: Option<u32>,
    /// How long after the last packet a reply is waited for, milliseconds.
    pub(crate) patience_ms: u64,
}

/// Small echo requests at even intervals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Train {
    /// How many.
    pub(crate) echoes: u32,
    /// Time between two of them, microseconds.
    pub(crate) interval_us: u64,
}

impl ProbePlan {
    /// What proves this condition.
    pub(crate) fn for_condition(condition: &Condition) -> Self {
        let loss = condition.loss.fraction();
        let for_loss = if loss > 0.0 { (EXPECTED_LOSSES / loss).ceil().min(f64::from(MAX_ECHOES)) as u32 } else { 0 };
        let rate = condition.rate.map(|rate| rate.bits_per_second() as f64);
        let paced = rate.map_or(0, |rate| (ECHO_PACKET_BITS / (rate * ECHO_SHARE_OF_RATE) * 1e6).ceil() as u64);
        let interval_us = paced.max(1_000);
        let few = if rate.is_some() { MIN_ECHOES / 4 } else { MIN_ECHOES };
        let spaced = crate::verify::jitter::train(condition, interval_us);
        let in_time = u32::try_from(MAX_PROBE_US / interval_us).unwrap_or(u32::MAX);
        let echoes = for_loss.max(few).min(in_time);
        let burst = rate.map(|rate| {
            let (fewest, most) = BURST_PACKETS;
            ((rate * BURST_SECONDS / BURST_PACKET_BITS) as u32).clamp(fewest, most)
        });
        let packet_ms = rate.map_or(0.0, |rate| BURST_PACKET_BITS / rate * 1_000.0);
        let slow_ms = 4.0 * (milliseconds(condition.delay) + milliseconds(condition.jitter) + packet_ms);
        let patience_ms = PATIENCE_MS + slow_ms.ceil() as u64;
        Self { close: Train { echoes, interval_us }, spaced, burst, patience_ms }
    }

    /// With a burst also where no rate is asked, to see one that is in force all the same.
    pub(crate) fn watching_the_rate(self) -> Self {
        let (_, most) = BURST_PACKETS;
        Self { burst: self.burst.or(Some(most)), ..self }
    }
}

/// What the answers say.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Measured {
    /// Small echo requests that were sent.
    pub(crate) sent: u32,
    /// Replies that came.
    pub(crate) received: u32,
    /// Median round trip, milliseconds; with jitter that of the spaced requests.
    pub(crate) rtt_median_ms: Option<f64>,
    /// The round trips of the spaced requests, where a jitter is asked.
    pub(crate) spread: Option<Spread>,
    /// Rate of the burst's replies, bits of IP packets per second.
    pub(crate) rate_bits_per_second: Option<f64>,
    /// The quickest of some TCP handshakes with the shop, milliseconds; where its port is a published one.
    pub(crate) handshake_min_ms: Option<f64>,
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "probe: {} of {} answered", self.received, self.sent)?;
        self.rtt_median_ms.map_or(Ok(()), |rtt| write!(f, ", median RTT {rtt:.3} ms"))?;
        self.rate_bits_per_second.map_or(Ok(()), |rate| write!(f, ", rate {:.1} kbit/s", rate / 1e3))?;
        self.handshake_min_ms.map_or(Ok(()), |rtt| write!(f, ", quickest handshake {rtt:.3} ms"))
    }
}

/// What does not fit, in words; empty when the condition is proved. `floor_ms` is the median round trip of the bare
/// link.
pub(crate) fn mismatches(requested: &Condition, floor_ms: f64, measured: &Measured) -> Vec<String> {
    let mismatches = [
        delay_mismatch(requested, floor_ms, measured),
        measured.spread.and_then(|spread| spread.mismatch(requested.jitter)),
        loss_mismatch(requested, measured),
        rate_mismatch(requested, measured),
        proxy_mismatch(requested, floor_ms, measured),
    ];
    mismatches.into_iter().flatten().collect()
}

fn delay_mismatch(requested: &Condition, floor_ms: f64, measured: &Measured) -> Option<String> {
    let Some(rtt) = measured.rtt_median_ms else {
        return Some(format!("delay: none of {} echo requests was answered", measured.sent));
    };
    let asked_ms = milliseconds(requested.delay);
    let added = rtt - floor_ms;
    // A rate makes each packet take its time on the wire, unless a burst allowance lets it pass: both are right.
    let on_the_wire = requested.rate.map_or(0.0, |rate| ECHO_PACKET_BITS / rate.bits_per_second() as f64 * 1_000.0);
    let absolute = if asked_ms > 0.0 { DELAY_TOLERANCE_MS.min(asked_ms / 2.0) } else { DELAY_TOLERANCE_MS };
    let by_chance = measured.spread.map_or(0.0, |spread| spread.median_tolerance_ms(requested.jitter));
    let tolerance = absolute.max(asked_ms * DELAY_TOLERANCE_SHARE) + by_chance;
    let within = added >= asked_ms - tolerance && added <= asked_ms + on_the_wire * 1.1 + tolerance;
    (!within)
        .then(|| format!("delay: asked {asked_ms} ms, the probe saw {added:.2} ms added (tolerance {tolerance:.2} ms)"))
}

fn loss_mismatch(requested: &Condition, measured: &Measured) -> Option<String> {
    let lost = measured.sent - measured.received.min(measured.sent);
    let loss = requested.loss.fraction();
    if is_plausible(u64::from(lost), u64::from(measured.sent), loss) {
        let blind = loss > 0.0 && (1.0 - loss).powi(measured.sent as i32) > LOSS_SIGNIFICANCE;
        return blind
            .then(|| format!("loss: {}% is too little for the probe's {} packets", loss * 100.0, measured.sent));
    }
    Some(format!("loss: asked {}%, the probe lost {lost} of {} packets", loss * 100.0, measured.sent))
}

/// Whether a bare link is fast enough to tell by a burst that a rate is in force which nobody asked for.
pub(crate) fn shows_unasked_rates(bare: &Measured) -> bool {
    bare.rate_bits_per_second.is_some_and(|rate| rate > 2.5 * UNASKED_RATE)
}

fn rate_mismatch(requested: &Condition, measured: &Measured) -> Option<String> {
    let Some(rate) = requested.rate else {
        let got = measured.rate_bits_per_second.filter(|got| *got < UNASKED_RATE)?;
        return Some(format!("rate: none was asked, the probe saw {:.1} kbit/s", got / 1_000.0));
    };
    let bits = rate.bits_per_second();
    if bits > MAX_VERIFIABLE_RATE {
        return Some(format!(
            "rate: {rate} is too fast for the probe (at most {} Mbit/s)",
            MAX_VERIFIABLE_RATE / 1_000_000
        ));
    }
    let Some(got) = measured.rate_bits_per_second else {
        return Some(format!("rate: asked {rate}, too few of the burst's replies came to tell"));
    };
    let within = (got / bits as f64 - 1.0).abs() <= RATE_TOLERANCE_SHARE;
    (!within).then(|| format!("rate: asked {rate}, the probe saw {:.1} kbit/s", got / 1_000.0))
}

/// A handshake that is quicker than the way with the link's delay was with something before the link.
pub(crate) fn proxy_mismatch(requested: &Condition, floor_ms: f64, measured: &Measured) -> Option<String> {
    let whole = floor_ms + milliseconds(requested.delay);
    let least = whole - milliseconds(requested.jitter) - DELAY_TOLERANCE_MS.max(whole * DELAY_TOLERANCE_SHARE);
    let quickest = measured.handshake_min_ms.filter(|quickest| *quickest < least)?;
    Some(format!(
        "way: a TCP handshake with the shop took {quickest:.2} ms, less than the link's {whole:.2}: something before the \
         link ends the connections (Docker's userland proxy?)"
    ))
}

pub(super) fn milliseconds(delay: Delay) -> f64 {
    delay.as_duration().as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(json: &str) -> Condition {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_probe_is_large_enough_to_see_the_condition_and_slow_enough_not_to_queue() {
        for (json, echoes, interval_us, burst, patience_ms) in [
            ("{}", 100, 1_000, None, 500),
            (r#"{"delay":"50ms"}"#, 100, 1_000, None, 700),
            (r#"{"loss":"1%"}"#, 800, 1_000, None, 500),
            (r#"{"loss":"0.01%"}"#, 8_000, 1_000, None, 500),
            (r#"{"rate":"100kbit"}"#, 25, 33_600, Some(13), 957),
            (r#"{"rate":"1Mbit"}"#, 25, 3_360, Some(40), 546),
            (r#"{"loss":"1%","rate":"20kbit"}"#, 357, 168_000, Some(12), 2_785),
            (r#"{"delay":"50ms","jitter":"10ms"}"#, 100, 1_000, None, 740),
        ] {
            let requested = condition(json);
            let spaced = crate::verify::jitter::train(&requested, interval_us);
            let expected = ProbePlan { close: Train { echoes, interval_us }, spaced, burst, patience_ms };
            assert_eq!(ProbePlan::for_condition(&requested), expected, "{json}");
        }
    }

    #[test]
    fn what_was_asked_and_seen_is_proved_and_all_else_is_doubted() {
        let seen = |rtt: f64, lost: u32, rate: Option<f64>| Measured {
            sent: 800,
            received: 800 - lost,
            rtt_median_ms: Some(rtt),
            rate_bits_per_second: rate,
            ..Measured::default()
        };
        for (json, measured, doubt) in [
            ("{}", seen(0.1, 0, None), None),
            ("{}", seen(0.1, 1, None), Some("loss: asked 0%, the probe lost 1 of 800")),
            ("{}", seen(50.1, 0, None), Some("delay: asked 0 ms, the probe saw 50.00 ms")),
            ("{}", seen(0.1, 0, Some(9e8)), None),
            ("{}", seen(0.1, 0, Some(1e6)), Some("rate: none was asked, the probe saw 1000.0 kbit/s")),
            (r#"{"delay":"50ms"}"#, seen(50.3, 0, None), None),
            (r#"{"delay":"50ms"}"#, seen(0.1, 0, None), Some("delay: asked 50 ms, the probe saw 0.00 ms")),
            (r#"{"delay":"1ms"}"#, seen(1.2, 0, None), None),
            (r#"{"delay":"1ms"}"#, seen(0.1, 0, None), Some("delay: asked 1 ms, the probe saw 0.00 ms")),
            (r#"{"delay":"50ms"}"#, seen(25.1, 0, None), Some("delay: asked 50 ms, the probe saw 25.00 ms")),
            (r#"{"loss":"1%"}"#, seen(0.1, 8, None), None),
            (r#"{"loss":"1%"}"#, seen(0.1, 0, None), Some("loss: asked 1%, the probe lost 0 of 800")),
            (r#"{"loss":"1%"}"#, seen(0.1, 25, None), Some("loss: asked 1%, the probe lost 25 of 800")),
            (r#"{"loss":"0.01%"}"#, seen(0.1, 0, None), Some("too little for the probe")),
            (r#"{"rate":"1Mbit"}"#, seen(0.8, 0, Some(990_000.0)), None),
            (r#"{"rate":"1Mbit"}"#, seen(0.1, 0, Some(999_000.0)), None),
            (r#"{"rate":"1Mbit"}"#, seen(0.1, 0, Some(9e8)), Some("rate: asked 1Mbit, the probe saw 900000.0")),
            (r#"{"rate":"1Mbit"}"#, seen(0.8, 0, None), Some("too few")),
            (r#"{"rate":"1Gbit"}"#, seen(0.1, 0, Some(1e9)), Some("too fast for the probe")),
        ] {
            let mismatches = mismatches(&condition(json), 0.1, &measured).join("; ");
            match doubt {
                None => assert_eq!(mismatches, "", "{json} {measured:?}"),
                Some(expected) => assert!(mismatches.contains(expected), "{json} {measured:?}: {mismatches}"),
            }
        }
    }

    #[test]
    fn a_handshake_quicker_than_the_link_was_with_a_proxy() {
        let measured = |quickest| Measured {
            sent: 100,
            received: 100,
            rtt_median_ms: Some(50.2),
            handshake_min_ms: Some(quickest),
            ..Measured::default()
        };
        let requested = condition(r#"{"delay":"50ms"}"#);
        assert_eq!(mismatches(&requested, 0.2, &measured(50.1)), Vec::<String>::new());
        assert!(mismatches(&requested, 0.2, &measured(0.3)).join("").contains("proxy"));
        // A proxy at the far end of a long way.
        let far = Measured { rtt_median_ms: Some(110.0), ..measured(60.3) };
        assert!(mismatches(&requested, 60.0, &far).join("").contains("proxy"));
    }

    #[test]
    fn no_answer_at_all_proves_nothing() {
        let silent = Measured { sent: 100, ..Measured::default() };
        assert!(!mismatches(&Condition::BASELINE, 0.1, &silent).is_empty());
        assert!(!mismatches(&condition(r#"{"loss":"50%"}"#), 0.1, &silent).is_empty());
    }
}
