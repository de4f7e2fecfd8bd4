//! Report of a probe, computed from its replies. Pure.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::probe::{ProbeSettings, SendPattern};

/// IP (20) and ICMP or UDP (8) headers of each packet, bytes.
const HEADER_BYTES: u32 = 28;
/// Minimum replies for a rate: half of fewer replies may all be within the burst allowance of the link.
const MIN_FOR_RATE: usize = 8;

/// One reply to an echo request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// Number of its request, from 0.
    pub sequence: u16,
    /// Time since its request was sent.
    pub rtt: Duration,
    /// Time since the first request was sent.
    pub arrival: Duration,
}

/// Report of a probe; `shop-client probe` prints it as one line of JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// Destination.
    pub server: IpAddr,
    /// Payload of each echo request, bytes; 0 for handshakes.
    pub payload_bytes: u16,
    /// Echo requests sent.
    pub sent: u32,
    /// Requests with a reply.
    pub received: u32,
    /// Further replies to a request. The probe ends with the last missing reply, so later duplicates are not counted.
    pub duplicates: u32,
    /// Replies that arrived after the reply to a later request.
    pub reordered: u32,
    /// RTT of each request in the order of sending, microseconds; `None` if it was lost.
    pub rtt_us: Vec<Option<f64>>,
    /// Minimum RTT, microseconds; `None`, like the following, without a reply.
    pub min_us: Option<f64>,
    /// Median RTT, microseconds.
    pub median_us: Option<f64>,
    /// 99th percentile of the RTTs, microseconds.
    pub p99_us: Option<f64>,
    /// Maximum RTT, microseconds.
    pub max_us: Option<f64>,
    /// Arrival times of a burst's replies in order, microseconds since the first request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrival_us: Option<Vec<f64>>,
    /// Rate of the link by the spacing of the later half of a burst's replies, bits of IP packets per second; `None`
    /// with too few replies.
    pub rate_bits_per_second: Option<f64>,
}

/// Returns the report on `replies`, which are in the order of arrival.
pub(super) fn summarise(settings: &ProbeSettings, sent: usize, replies: &[Reply]) -> ProbeReport {
    let first_replies = without_duplicates(replies, settings.count);
    let mut rtt_us = vec![None; usize::from(settings.count)];
    for reply in &first_replies {
        rtt_us[usize::from(reply.sequence)] = Some(microseconds(reply.rtt));
    }
    let mut sorted: Vec<f64> = rtt_us.iter().flatten().copied().collect();
    sorted.sort_by(f64::total_cmp);
    let mut arrivals: Vec<Duration> = first_replies.iter().map(|reply| reply.arrival).collect();
    // With two CPUs receiving, a reply may be read before another with an earlier kernel timestamp.
    arrivals.sort_unstable();
    let is_burst = settings.pattern == SendPattern::Burst;
    ProbeReport {
        server: IpAddr::V4(settings.server),
        payload_bytes: settings.payload_bytes,
        sent: sent as u32,
        received: first_replies.len() as u32,
        duplicates: (replies.len() - first_replies.len()) as u32,
        reordered: reordered(&first_replies),
        rtt_us,
        min_us: quantile(&sorted, 0.0),
        median_us: quantile(&sorted, 0.5),
        p99_us: quantile(&sorted, 0.99),
        max_us: quantile(&sorted, 1.0),
        arrival_us: is_burst.then(|| arrivals.iter().copied().map(microseconds).collect()),
        rate_bits_per_second: if is_burst { rate(&arrivals, settings.payload_bytes) } else { None },
    }
}

fn without_duplicates(replies: &[Reply], count: u16) -> Vec<Reply> {
    let mut answered = vec![false; usize::from(count)];
    let is_first = |reply: &&Reply| !std::mem::replace(&mut answered[usize::from(reply.sequence)], true);
    replies.iter().filter(is_first).copied().collect()
}

fn reordered(replies: &[Reply]) -> u32 {
    let mut highest = 0;
    let mut count = 0;
    for reply in replies {
        count += u32::from(reply.sequence < highest);
        highest = highest.max(reply.sequence);
    }
    count
}

/// Returns a quantile of sorted values by linear interpolation between order statistics: type 7 of Hyndman and Fan,
/// "Sample Quantiles in Statistical Packages", The American Statistician 50 (1996).
fn quantile(sorted: &[f64], p: f64) -> Option<f64> {
    let position = p * sorted.len().checked_sub(1)? as f64;
    let below = sorted[position.floor() as usize];
    let above = sorted[position.ceil() as usize];
    Some(round_tenth(below + (above - below) * position.fract()))
}

/// Returns the rate of a link in bits per second by the dispersion of a packet train (Dovrolis, Ramanathan, Moore,
/// "Packet-Dispersion Techniques and a Capacity-Estimation Methodology", IEEE/ACM ToN 12 (2004)). Only the later half
/// counts: a token bucket forwards an initial burst at line speed.
fn rate(arrivals: &[Duration], payload_bytes: u16) -> Option<f64> {
    if arrivals.len() < MIN_FOR_RATE {
        return None;
    }
    let later = &arrivals[arrivals.len() / 2..];
    let duration_s = later.last()?.checked_sub(*later.first()?)?.as_secs_f64();
    let bits = (later.len() - 1) as f64 * f64::from(8 * (HEADER_BYTES + u32::from(payload_bytes)));
    (duration_s > 0.0).then(|| bits / duration_s)
}

/// Returns microseconds, rounded to a tenth.
fn microseconds(time: Duration) -> f64 {
    round_tenth(time.as_nanos() as f64 / 1e3)
}

fn round_tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn settings(count: u16, pattern: SendPattern) -> ProbeSettings {
        ProbeSettings {
            server: Ipv4Addr::LOCALHOST,
            protocol: crate::probe::ProbeProtocol::Icmp,
            count,
            pattern,
            payload_bytes: 1400,
            timeout: Duration::from_secs(1),
        }
    }

    fn reply(sequence: u16, rtt_us: u64) -> Reply {
        let rtt = Duration::from_micros(rtt_us);
        Reply { sequence, rtt, arrival: rtt }
    }

    #[test]
    fn quantiles_interpolate() {
        for (values, p, expected) in [
            (&[][..], 0.5, None),
            (&[3.0][..], 0.99, Some(3.0)),
            (&[1.0, 2.0, 3.0, 4.0][..], 0.5, Some(2.5)),
            (&[1.0, 2.0, 3.0][..], 0.5, Some(2.0)),
            (&[0.0, 100.0][..], 0.99, Some(99.0)),
        ] {
            assert_eq!(quantile(values, p), expected, "{values:?} at {p}");
        }
    }

    #[test]
    fn lost_duplicate_and_reordered_replies_are_counted_separately() {
        let replies = [reply(0, 10), reply(2, 30), reply(1, 50), reply(2, 60)];
        let report = summarise(&settings(4, SendPattern::Every(Duration::ZERO)), 4, &replies);
        assert_eq!((report.sent, report.received, report.duplicates, report.reordered), (4, 3, 1, 1));
        assert_eq!(report.rtt_us, [Some(10.0), Some(50.0), Some(30.0), None]);
        assert_eq!((report.min_us, report.median_us, report.max_us), (Some(10.0), Some(30.0), Some(50.0)));
        assert_eq!((report.arrival_us, report.rate_bits_per_second), (None, None));
    }

    #[test]
    fn a_report_without_replies_has_no_median() {
        let report = summarise(&settings(2, SendPattern::Burst), 2, &[]);
        assert_eq!((report.received, report.median_us, report.p99_us), (0, None, None));
        assert_eq!(report.rtt_us, [None, None]);
        assert_eq!(report.rate_bits_per_second, None);
    }

    #[test]
    fn the_rate_is_measured_over_the_later_half() {
        // Ten packets back to back, as from a full bucket, then ten at 1 Mbit/s: 1428 bytes in 11.424 ms.
        let spaced = (1..=10).map(|n| n * 11_424);
        let replies: Vec<Reply> = (0..10).map(|_| 0).chain(spaced).zip(0..).map(|(at, seq)| reply(seq, at)).collect();
        let rate = summarise(&settings(20, SendPattern::Burst), 20, &replies).rate_bits_per_second.unwrap();
        assert!((rate - 1e6).abs() < 1.0, "{rate}");
        assert_eq!(summarise(&settings(20, SendPattern::Burst), 20, &replies[..7]).rate_bits_per_second, None);
    }

    #[test]
    fn a_report_is_unchanged_by_its_line_of_json() {
        let report = summarise(&settings(3, SendPattern::Burst), 3, &[reply(1, 20), reply(0, 33)]);
        let line = serde_json::to_string(&report).unwrap();
        assert!(line.contains(r#""rtt_us":[33.0,20.0,null]"#), "{line}");
        assert!(line.contains(r#""rate_bits_per_second":null"#), "{line}");
        assert_eq!(serde_json::from_str::<ProbeReport>(&line).unwrap(), report);
    }
}
