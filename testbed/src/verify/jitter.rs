//! Checks that the delays that the probe measured are distributed as the condition's jitter requires. Pure.
//!
//! A link that keeps packets in order sends a packet with a short random delay no earlier than its predecessor. Echo
//! requests at short intervals therefore measure a running maximum of the random delays. Requests more than two jitters
//! apart cannot affect each other: each measures its own random delay, uniformly distributed over delay ± jitter.

use std::time::Duration;

use analysis::{Sorted, mean, percentile};
use model::{Condition, Delay};

use crate::verify::train::{MAX_PROBE_US, Train, milliseconds};

/// Replies that the probe aims for.
const ECHOES: f64 = 100.0;
/// Fewer replies cannot distinguish half of the jitter from all of it: the distance between both distributions is a
/// quarter, and [`threshold`] must be less.
const MIN_REPLIES: usize = 80;
/// Host scheduling hides a jitter below this, milliseconds.
const MIN_JITTER_MS: f64 = 0.5;
/// Significance level: a correct jitter is rejected less often than this.
const SIGNIFICANCE: f64 = 0.001;
/// Time between two requests in addition to two jitters, microseconds.
const MARGIN_US: u64 = 1_000;

/// Distribution of the RTTs of echo requests that cannot affect each other in the link.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    replies: usize,
    /// Median RTT, milliseconds.
    pub(crate) median_ms: f64,
    /// Half-width of the uniform distribution with the measured mean distance from the median, milliseconds.
    pub(crate) jitter_ms: f64,
    /// Kolmogorov–Smirnov distance from the uniform distribution of the requested jitter around the median.
    distance: f64,
}

impl Spread {
    /// Compares the distribution of these RTTs, milliseconds, with the requested jitter. `None` without RTTs.
    pub(crate) fn of(rtts_ms: &[f64], requested: Delay) -> Option<Self> {
        let sorted = Sorted::new(rtts_ms.iter().copied());
        let median_ms = percentile(&sorted, 0.5)?;
        let mean_distance = mean(&sorted.values().iter().map(|value| (value - median_ms).abs()).collect())?;
        Some(Self {
            replies: sorted.len(),
            median_ms,
            // The mean distance of a uniform distribution from its centre is half of its half-width.
            jitter_ms: 2.0 * mean_distance,
            distance: distance(&sorted.values(), median_ms, milliseconds(requested)),
        })
    }

    /// Returns the tolerance of the median in milliseconds: four standard errors, each `jitter / √n` (the standard
    /// error of a sample median is `1 / (2 f √n)`, with the density `f = 1 / (2 jitter)`).
    pub(crate) fn median_tolerance_ms(self, jitter: Delay) -> f64 {
        4.0 * milliseconds(jitter) / (self.replies as f64).sqrt()
    }

    /// Returns how this distribution differs from the requested jitter; `None` if it matches.
    pub(crate) fn mismatch(self, requested: Delay) -> Option<String> {
        let requested_ms = milliseconds(requested);
        if self.replies < MIN_REPLIES {
            return Some(format!(
                "jitter: {} replies are too few to verify ±{requested_ms} ms (minimum {MIN_REPLIES})",
                self.replies
            ));
        }
        if requested_ms < MIN_JITTER_MS {
            return Some(format!(
                "jitter: ±{requested_ms} ms is too small for the probe (minimum ±{MIN_JITTER_MS} ms)"
            ));
        }
        (self.distance > threshold(self.replies)).then(|| {
            format!(
                "jitter: requested ±{requested_ms} ms, probe measured ±{:.2} ms (Kolmogorov–Smirnov distance {:.3}, \
                 limit {:.3})",
                self.jitter_ms,
                self.distance,
                threshold(self.replies)
            )
        })
    }
}

/// Returns the requests that measure the jitter of this condition, at intervals of at least `min_interval_us`, which
/// the condition's rate needs; `None` without jitter.
pub(crate) fn train(condition: &Condition, min_interval_us: u64) -> Option<Train> {
    let jitter: Duration = condition.jitter.as_duration();
    if jitter.is_zero() {
        return None;
    }
    let independent_us = u64::try_from(2 * jitter.as_micros()).unwrap_or(u64::MAX).saturating_add(MARGIN_US);
    let interval_us = independent_us.max(min_interval_us);
    let echoes = (ECHOES / (1.0 - condition.loss.fraction())).ceil() as u32;
    let max_echoes = u32::try_from(MAX_PROBE_US / interval_us).unwrap_or(u32::MAX);
    Some(Train { echoes: echoes.min(max_echoes), interval_us })
}

/// Returns the Kolmogorov–Smirnov statistic: the maximum distance between the empirical distribution of sorted values
/// and the uniform distribution over centre ± `half_width`.
fn distance(sorted: &[f64], centre: f64, half_width: f64) -> f64 {
    let n = sorted.len() as f64;
    let expected = |value: f64| ((value - centre + half_width) / (2.0 * half_width)).clamp(0.0, 1.0);
    let each = sorted.iter().enumerate().map(|(index, value)| {
        let expected = expected(*value);
        ((index as f64 + 1.0) / n - expected).max(expected - index as f64 / n)
    });
    each.fold(0.0, f64::max)
}

/// Returns the distance that `replies` samples of the distribution itself exceed with probability [`SIGNIFICANCE`] at
/// most: P(D > d) ≤ 2 exp(−2 n d²) (Massart, "The Tight Constant in the Dvoretzky–Kiefer–Wolfowitz Inequality", Annals
/// of Probability 18 (1990)). Centring at the sample's own median can only reduce the distance.
fn threshold(replies: usize) -> f64 {
    ((2.0 / SIGNIFICANCE).ln() / (2.0 * replies as f64)).sqrt()
}

#[cfg(test)]
mod tests {
    use shaper::link::{Link, Verdict};

    use super::*;

    fn condition(json: &str) -> Condition {
        serde_json::from_str(json).unwrap()
    }

    /// Returns the RTTs that this train measures on the shaper's link, without the host's noise.
    fn rtts(train: Train, active: Condition, seed: u64) -> Vec<f64> {
        let mut link = Link::new(active, seed);
        let sent = (0..train.echoes).map(|number| Duration::from_micros(train.interval_us) * number);
        let rtt = |sent| match link.on_packet(sent, 84) {
            Verdict::SendAt(at) => Some((at - sent).as_secs_f64() * 1e3),
            Verdict::Drop(_) => None,
        };
        sent.filter_map(rtt).collect()
    }

    #[test]
    fn an_active_jitter_matches_and_none_or_half_of_it_is_a_mismatch() {
        for jitter in ["1ms", "5ms", "10ms", "25ms"] {
            let with_jitter = |jitter: &str| condition(&format!(r#"{{"delay":"50ms","jitter":"{jitter}"}}"#));
            let half = Delay::try_from(with_jitter(jitter).jitter.as_duration() / 2).unwrap();
            let requested = with_jitter(jitter);
            let train = train(&requested, 1_000).unwrap();
            let mismatch = |active, seed| {
                let spread = Spread::of(&rtts(train, active, seed), requested.jitter).unwrap();
                assert!((spread.median_ms - 50.0).abs() < spread.median_tolerance_ms(requested.jitter), "{spread:?}");
                spread.mismatch(requested.jitter)
            };
            for seed in 0..300 {
                assert_eq!(mismatch(requested, seed), None, "{jitter} seed {seed}");
                let half = mismatch(Condition { jitter: half, ..requested }, seed);
                assert!(half.is_some(), "half of {jitter}, seed {seed}");
            }
            let none = mismatch(Condition { jitter: Delay::ZERO, ..requested }, 0).unwrap();
            assert!(none.contains("measured ±0.00 ms"), "{none}");
        }
    }

    #[test]
    fn the_jitter_is_estimated_in_milliseconds() {
        let requested = condition(r#"{"delay":"50ms","jitter":"10ms"}"#);
        let spread = Spread::of(&rtts(train(&requested, 1_000).unwrap(), requested, 7), requested.jitter).unwrap();
        assert!((spread.jitter_ms - 10.0).abs() < 2.0, "{spread:?}");
        assert_eq!(Spread::of(&[], requested.jitter), None);
    }

    #[test]
    fn requests_are_two_jitters_apart_and_losses_need_more_of_them() {
        for (json, expected) in [
            (r#"{"delay":"50ms"}"#, None),
            (r#"{"delay":"50ms","jitter":"10ms"}"#, Some((100, 21_000))),
            (r#"{"delay":"50ms","jitter":"10ms","loss":"20%"}"#, Some((125, 21_000))),
            (r#"{"delay":"1s","jitter":"1s"}"#, Some((29, 2_001_000))),
        ] {
            let train = train(&condition(json), 1_000).map(|train| (train.echoes, train.interval_us));
            assert_eq!(train, expected, "{json}");
        }
    }

    #[test]
    fn a_jitter_that_the_probe_cannot_measure_is_not_verified() {
        let few = Spread::of(&[50.0; 79], "10ms".parse().unwrap()).unwrap();
        assert!(few.mismatch("10ms".parse().unwrap()).unwrap().contains("79 replies are too few"));
        let small = Spread::of(&[50.0; 100], "0.1ms".parse().unwrap()).unwrap();
        assert!(small.mismatch("0.1ms".parse().unwrap()).unwrap().contains("too small for the probe"));
    }
}
