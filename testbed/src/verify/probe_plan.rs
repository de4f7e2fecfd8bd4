//! The probe: which packets to send through the link for a condition, and whether the replies verify it. Pure.
//!
//! Echo requests go from a client to the server's kernel, whose replies pass the emulator. `docs/measuring.md`
//! documents the tolerances below.

use model::Condition;

use crate::verify::binomial::LOSS_SIGNIFICANCE;
pub(crate) use crate::verify::binomial::is_plausible;
pub(crate) use crate::verify::jitter::Spread;
pub(crate) use crate::verify::train::Train;
use crate::verify::train::{MAX_PROBE_US, milliseconds};

/// Tolerance of the delay, milliseconds, but at most half of the requested delay …
const DELAY_TOLERANCE_MS: f64 = 1.0;
/// … or this share of the requested delay, whichever is more.
const DELAY_TOLERANCE_SHARE: f64 = 0.02;
/// Tolerance of a rate, as a share of the requested rate.
const RATE_TOLERANCE_SHARE: f64 = 0.05;

/// Echo requests for a condition without loss.
const MIN_ECHOES: u32 = 100;
/// Maximum of echo requests that count losses.
const MAX_ECHOES: u32 = 8_000;
/// Expected losses that make zero losses sufficiently improbable (e^-8 = 0.0003).
const EXPECTED_LOSSES: f64 = 8.0;
/// Payload of a small echo request, bytes; below its size as an IP packet, bits.
pub(crate) const ECHO_PAYLOAD_BYTES: u32 = 56;
const ECHO_PACKET_BITS: f64 = 84.0 * 8.0;
/// Share of a rate limit that the small echoes may use: more of them would queue.
const ECHO_SHARE_OF_RATE: f64 = 0.2;
/// Payload of a packet in the burst that measures a rate, bytes; below its size as an IP packet, bits.
pub(crate) const BURST_PAYLOAD_BYTES: u32 = 1_400;
const BURST_PACKET_BITS: f64 = 1_428.0 * 8.0;
/// Minimum and maximum of packets in a burst: the server's kernel queues no more replies.
const BURST_PACKETS: (u32, u32) = (12, 40);
/// Intended maximum duration of a burst, seconds.
const MAX_BURST_S: f64 = 1.5;
/// Time to wait for a reply on a link without delay, milliseconds.
const REPLY_TIMEOUT_MS: u64 = 500;
/// If no rate was requested and the unshaped link is faster, a burst below this rate shows an unrequested rate limit,
/// bits per second.
const UNREQUESTED_RATE: f64 = 20_000_000.0;
/// Above this rate a burst is too short to be timed, bits per second.
const MAX_VERIFIABLE_RATE: u64 = 200_000_000;

/// Packets to send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ProbePlan {
    /// Small echo requests at short intervals.
    pub(crate) close: Train,
    /// Small echo requests that measure the jitter, at intervals that keep them from affecting each other in the link.
    pub(crate) spaced: Option<Train>,
    /// Large echo requests back to back, to measure a rate.
    pub(crate) burst: Option<u32>,
    /// Time to wait for replies after the last packet, milliseconds.
    pub(crate) reply_timeout_ms: u64,
}

impl ProbePlan {
    /// Returns the packets that verify this condition.
    pub(crate) fn for_condition(condition: &Condition) -> Self {
        let loss = condition.loss.fraction();
        let for_loss = if loss > 0.0 { (EXPECTED_LOSSES / loss).ceil().min(f64::from(MAX_ECHOES)) as u32 } else { 0 };
        let rate = condition.rate.map(|rate| rate.bits_per_second() as f64);
        let rate_interval_us =
            rate.map_or(0, |rate| (ECHO_PACKET_BITS / (rate * ECHO_SHARE_OF_RATE) * 1e6).ceil() as u64);
        let interval_us = rate_interval_us.max(1_000);
        let min_echoes = if rate.is_some() { MIN_ECHOES / 4 } else { MIN_ECHOES };
        let spaced = crate::verify::jitter::train(condition, interval_us);
        let max_echoes = u32::try_from(MAX_PROBE_US / interval_us).unwrap_or(u32::MAX);
        let echoes = for_loss.max(min_echoes).min(max_echoes);
        let burst = rate.map(|rate| {
            let (min, max) = BURST_PACKETS;
            ((rate * MAX_BURST_S / BURST_PACKET_BITS) as u32).clamp(min, max)
        });
        let packet_ms = rate.map_or(0.0, |rate| BURST_PACKET_BITS / rate * 1_000.0);
        let slow_ms = 4.0 * (milliseconds(condition.delay) + milliseconds(condition.jitter) + packet_ms);
        let reply_timeout_ms = REPLY_TIMEOUT_MS + slow_ms.ceil() as u64;
        Self { close: Train { echoes, interval_us }, spaced, burst, reply_timeout_ms }
    }

    /// Adds a burst where no rate is requested, which detects an unrequested rate limit.
    pub(crate) fn with_rate_check(self) -> Self {
        let (_, max) = BURST_PACKETS;
        Self { burst: self.burst.or(Some(max)), ..self }
    }
}

/// Result of a probe.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct ProbeResult {
    /// Small echo requests sent.
    pub(crate) sent: u32,
    /// Replies received.
    pub(crate) received: u32,
    /// Median RTT, milliseconds; with jitter the median of the spaced requests.
    pub(crate) rtt_median_ms: Option<f64>,
    /// Distribution of the RTTs of the spaced requests, if a jitter is requested.
    pub(crate) spread: Option<Spread>,
    /// Rate of the burst's replies, bits of IP packets per second.
    pub(crate) rate_bits_per_second: Option<f64>,
    /// Minimum duration of a few TCP handshakes with the shop, milliseconds, if its port is published.
    pub(crate) handshake_min_ms: Option<f64>,
}

impl std::fmt::Display for ProbeResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "probe: {} of {} replies", self.received, self.sent)?;
        self.rtt_median_ms.map_or(Ok(()), |rtt| write!(f, ", median RTT {rtt:.3} ms"))?;
        self.rate_bits_per_second.map_or(Ok(()), |rate| write!(f, ", rate {:.1} kbit/s", rate / 1e3))?;
        self.handshake_min_ms.map_or(Ok(()), |rtt| write!(f, ", minimum handshake {rtt:.3} ms"))
    }
}

/// Returns the mismatches between requested condition and probe; empty if the condition is verified. `baseline_rtt_ms`
/// is the median RTT of the unshaped link.
pub(crate) fn mismatches(requested: &Condition, baseline_rtt_ms: f64, measured: &ProbeResult) -> Vec<String> {
    let mismatches = [
        delay_mismatch(requested, baseline_rtt_ms, measured),
        measured.spread.and_then(|spread| spread.mismatch(requested.jitter)),
        loss_mismatch(requested, measured),
        rate_mismatch(requested, measured),
        proxy_mismatch(requested, baseline_rtt_ms, measured),
    ];
    mismatches.into_iter().flatten().collect()
}

fn delay_mismatch(requested: &Condition, baseline_rtt_ms: f64, measured: &ProbeResult) -> Option<String> {
    let Some(rtt) = measured.rtt_median_ms else {
        return Some(format!("delay: no reply to {} echo requests", measured.sent));
    };
    let requested_ms = milliseconds(requested.delay);
    let added = rtt - baseline_rtt_ms;
    // A rate limit adds the transmission time of a packet, unless a burst allowance covers it: both are correct.
    let transmission_ms = requested.rate.map_or(0.0, |rate| ECHO_PACKET_BITS / rate.bits_per_second() as f64 * 1_000.0);
    let absolute = if requested_ms > 0.0 { DELAY_TOLERANCE_MS.min(requested_ms / 2.0) } else { DELAY_TOLERANCE_MS };
    let chance_ms = measured.spread.map_or(0.0, |spread| spread.median_tolerance_ms(requested.jitter));
    let tolerance = absolute.max(requested_ms * DELAY_TOLERANCE_SHARE) + chance_ms;
    let within = added >= requested_ms - tolerance && added <= requested_ms + transmission_ms * 1.1 + tolerance;
    (!within).then(|| {
        format!("delay: requested {requested_ms} ms, probe measured {added:.2} ms added (tolerance {tolerance:.2} ms)")
    })
}

fn loss_mismatch(requested: &Condition, measured: &ProbeResult) -> Option<String> {
    let lost = measured.sent - measured.received.min(measured.sent);
    let loss = requested.loss.fraction();
    if is_plausible(u64::from(lost), u64::from(measured.sent), loss) {
        let is_undetectable = loss > 0.0 && (1.0 - loss).powi(measured.sent as i32) > LOSS_SIGNIFICANCE;
        return is_undetectable
            .then(|| format!("loss: {}% is too small for the probe's {} packets", loss * 100.0, measured.sent));
    }
    Some(format!("loss: requested {}%, the probe lost {lost} of {} packets", loss * 100.0, measured.sent))
}

/// Returns whether the unshaped link is fast enough for a burst to detect an unrequested rate limit.
pub(crate) fn can_show_unrequested_rates(baseline: &ProbeResult) -> bool {
    baseline.rate_bits_per_second.is_some_and(|rate| rate > 2.5 * UNREQUESTED_RATE)
}

fn rate_mismatch(requested: &Condition, measured: &ProbeResult) -> Option<String> {
    let Some(rate) = requested.rate else {
        let got = measured.rate_bits_per_second.filter(|got| *got < UNREQUESTED_RATE)?;
        return Some(format!("rate: none requested, probe measured {:.1} kbit/s", got / 1_000.0));
    };
    let bits = rate.bits_per_second();
    if bits > MAX_VERIFIABLE_RATE {
        return Some(format!(
            "rate: {rate} is too high for the probe (maximum {} Mbit/s)",
            MAX_VERIFIABLE_RATE / 1_000_000
        ));
    }
    let Some(got) = measured.rate_bits_per_second else {
        return Some(format!("rate: requested {rate}, too few replies to the probe's burst to measure it"));
    };
    let within = (got / bits as f64 - 1.0).abs() <= RATE_TOLERANCE_SHARE;
    (!within).then(|| format!("rate: requested {rate}, probe measured {:.1} kbit/s", got / 1_000.0))
}

/// Returns the mismatch if a handshake took less than the RTT of the link: a proxy before the link accepted the
/// connection.
pub(crate) fn proxy_mismatch(requested: &Condition, baseline_rtt_ms: f64, measured: &ProbeResult) -> Option<String> {
    let link_ms = baseline_rtt_ms + milliseconds(requested.delay);
    let min_ms = link_ms - milliseconds(requested.jitter) - DELAY_TOLERANCE_MS.max(link_ms * DELAY_TOLERANCE_SHARE);
    let handshake_ms = measured.handshake_min_ms.filter(|handshake_ms| *handshake_ms < min_ms)?;
    Some(format!(
        "path: TCP handshake took {handshake_ms:.2} ms, the link needs at least {link_ms:.2} ms: a proxy terminates \
         connections before the link (Docker's userland proxy?)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(json: &str) -> Condition {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_probe_is_large_enough_for_the_condition_and_slow_enough_not_to_queue() {
        for (json, echoes, interval_us, burst, reply_timeout_ms) in [
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
            let expected = ProbePlan { close: Train { echoes, interval_us }, spaced, burst, reply_timeout_ms };
            assert_eq!(ProbePlan::for_condition(&requested), expected, "{json}");
        }
    }

    #[test]
    fn a_probe_that_matches_the_request_has_no_mismatch_and_any_other_has() {
        let probed = |rtt: f64, lost: u32, rate: Option<f64>| ProbeResult {
            sent: 800,
            received: 800 - lost,
            rtt_median_ms: Some(rtt),
            rate_bits_per_second: rate,
            ..ProbeResult::default()
        };
        for (json, measured, mismatch) in [
            ("{}", probed(0.1, 0, None), None),
            ("{}", probed(0.1, 1, None), Some("loss: requested 0%, the probe lost 1 of 800")),
            ("{}", probed(50.1, 0, None), Some("delay: requested 0 ms, probe measured 50.00 ms")),
            ("{}", probed(0.1, 0, Some(9e8)), None),
            ("{}", probed(0.1, 0, Some(1e6)), Some("rate: none requested, probe measured 1000.0 kbit/s")),
            (r#"{"delay":"50ms"}"#, probed(50.3, 0, None), None),
            (r#"{"delay":"50ms"}"#, probed(0.1, 0, None), Some("delay: requested 50 ms, probe measured 0.00 ms")),
            (r#"{"delay":"1ms"}"#, probed(1.2, 0, None), None),
            (r#"{"delay":"1ms"}"#, probed(0.1, 0, None), Some("delay: requested 1 ms, probe measured 0.00 ms")),
            (r#"{"delay":"50ms"}"#, probed(25.1, 0, None), Some("delay: requested 50 ms, probe measured 25.00 ms")),
            (r#"{"loss":"1%"}"#, probed(0.1, 8, None), None),
            (r#"{"loss":"1%"}"#, probed(0.1, 0, None), Some("loss: requested 1%, the probe lost 0 of 800")),
            (r#"{"loss":"1%"}"#, probed(0.1, 25, None), Some("loss: requested 1%, the probe lost 25 of 800")),
            (r#"{"loss":"0.01%"}"#, probed(0.1, 0, None), Some("too small for the probe")),
            (r#"{"rate":"1Mbit"}"#, probed(0.8, 0, Some(990_000.0)), None),
            (r#"{"rate":"1Mbit"}"#, probed(0.1, 0, Some(999_000.0)), None),
            (r#"{"rate":"1Mbit"}"#, probed(0.1, 0, Some(9e8)), Some("rate: requested 1Mbit, probe measured 900000.0")),
            (r#"{"rate":"1Mbit"}"#, probed(0.8, 0, None), Some("too few")),
            (r#"{"rate":"1Gbit"}"#, probed(0.1, 0, Some(1e9)), Some("too high for the probe")),
        ] {
            let mismatches = mismatches(&condition(json), 0.1, &measured).join("; ");
            match mismatch {
                None => assert_eq!(mismatches, "", "{json} {measured:?}"),
                Some(expected) => assert!(mismatches.contains(expected), "{json} {measured:?}: {mismatches}"),
            }
        }
    }

    #[test]
    fn a_handshake_shorter_than_the_links_rtt_shows_a_proxy() {
        let measured = |handshake_ms| ProbeResult {
            sent: 100,
            received: 100,
            rtt_median_ms: Some(50.2),
            handshake_min_ms: Some(handshake_ms),
            ..ProbeResult::default()
        };
        let requested = condition(r#"{"delay":"50ms"}"#);
        assert_eq!(mismatches(&requested, 0.2, &measured(50.1)), Vec::<String>::new());
        assert!(mismatches(&requested, 0.2, &measured(0.3)).join("").contains("proxy"));
        // A proxy at the far end of a high-delay path.
        let far = ProbeResult { rtt_median_ms: Some(110.0), ..measured(60.3) };
        assert!(mismatches(&requested, 60.0, &far).join("").contains("proxy"));
    }

    #[test]
    fn no_reply_verifies_nothing() {
        let no_reply = ProbeResult { sent: 100, ..ProbeResult::default() };
        assert!(!mismatches(&Condition::BASELINE, 0.1, &no_reply).is_empty());
        assert!(!mismatches(&condition(r#"{"loss":"50%"}"#), 0.1, &no_reply).is_empty());
    }
}
