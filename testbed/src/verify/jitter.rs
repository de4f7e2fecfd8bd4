//! Whether the delays that the probe measured are spread as the condition's jitter says. Pure.
//!
//! A link that keeps packets in order releases a packet that drew a short delay no earlier than the packet before it. Echo
//! requests that follow each other closely therefore measure a running maximum of the draws. Requests more than two jitters
//! apart cannot meet: each of them measures its own draw, spread evenly over delay ± jitter.

use std::time::Duration;

use analysis::{Sorted, mean, percentile};
use model::{Condition, Delay};

use crate::verify::probe_plan::{MAX_PROBE_US, Train, milliseconds};

/// Echo requests whose answers show the spread.
const ECHOES: f64 = 100.0;
/// Fewer answers do not tell half of the jitter from all of it: the distance between both distributions is a quarter,
/// and [`threshold`] must be less.
const MIN_ANSWERS: usize = 80;
/// A host's own scheduling hides a jitter below this, milliseconds.
const MIN_JITTER_MS: f64 = 0.5;
/// A true jitter is doubted less often than this.
const SIGNIFICANCE: f64 = 0.001;
/// Time between two requests beyond two jitters, microseconds.
const MARGIN_US: u64 = 1_000;

/// The round trips of echo requests that could not meet in the link.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    /// Answers.
    answers: usize,
    /// Their median, milliseconds.
    pub(crate) median_ms: f64,
    /// Half the width of an even spread that has their mean distance from the median, milliseconds.
    pub(crate) jitter_ms: f64,
    /// Kolmogorov–Smirnov distance from an even spread of the requested jitter around their median.
    distance: f64,
}

impl Spread {
    /// The spread of these round trips, milliseconds, beside the requested jitter; `None` without any.
    pub(crate) fn of(round_trips_ms: &[f64], requested: Delay) -> Option<Self> {
        let sorted = Sorted::new(round_trips_ms.iter().copied());
        let median_ms = percentile(&sorted, 0.5)?;
        let mean_distance = mean(&sorted.values().iter().map(|value| (value - median_ms).abs()).collect())?;
        Some(Self {
            answers: sorted.len(),
            median_ms,
            // The mean distance of an even spread from its centre is half of its half-width.
            jitter_ms: 2.0 * mean_distance,
            distance: distance(sorted.values(), median_ms, milliseconds(requested)),
        })
    }

    /// How far the median of so many even draws may be from its expectation: four of its standard errors, each
    /// `jitter / √n` (the standard error of a sample median is `1 / (2 f √n)`, with the density `f = 1 / (2 jitter)`),
    /// milliseconds.
    pub(crate) fn median_tolerance_ms(self, jitter: Delay) -> f64 {
        4.0 * milliseconds(jitter) / (self.answers as f64).sqrt()
    }

    /// Why this is not the requested jitter; `None` when it is.
    pub(crate) fn mismatch(self, requested: Delay) -> Option<String> {
        let requested_ms = milliseconds(requested);
        if self.answers < MIN_ANSWERS {
            return Some(format!(
                "jitter: {} answers are too few to verify {requested_ms} ms (at least {MIN_ANSWERS})",
                self.answers
            ));
        }
        if requested_ms < MIN_JITTER_MS {
            return Some(format!(
                "jitter: {requested_ms} ms is too little for the probe (at least {MIN_JITTER_MS} ms)"
            ));
        }
        (self.distance > threshold(self.answers)).then(|| {
            format!(
                "jitter: asked ±{requested_ms} ms, the probe saw ±{:.2} ms (Kolmogorov–Smirnov distance {:.3}, at most {:.3})",
                self.jitter_ms,
                self.distance,
                threshold(self.answers)
            )
        })
    }
}

/// The requests that show the jitter of this condition, paced for its rate; `None` without jitter.
pub(crate) fn train(condition: &Condition, paced_us: u64) -> Option<Train> {
    let jitter: Duration = condition.jitter.as_duration();
    if jitter.is_zero() {
        return None;
    }
    let apart = u64::try_from(2 * jitter.as_micros()).unwrap_or(u64::MAX).saturating_add(MARGIN_US);
    let interval_us = apart.max(paced_us);
    let echoes = (ECHOES / (1.0 - condition.loss.fraction())).ceil() as u32;
    let in_time = u32::try_from(MAX_PROBE_US / interval_us).unwrap_or(u32::MAX);
    Some(Train { echoes: echoes.min(in_time), interval_us })
}

/// The greatest distance between the empirical distribution of sorted values and an even one over centre ± `half_width`
/// (the Kolmogorov–Smirnov statistic).
fn distance(sorted: &[f64], centre: f64, half_width: f64) -> f64 {
    let n = sorted.len() as f64;
    let expected = |value: f64| ((value - centre + half_width) / (2.0 * half_width)).clamp(0.0, 1.0);
    let each = sorted.iter().enumerate().map(|(index, value)| {
        let expected = expected(*value);
        ((index as f64 + 1.0) / n - expected).max(expected - index as f64 / n)
    });
    each.fold(0.0, f64::max)
}

/// The distance that so many draws from the distribution itself exceed with less than [`SIGNIFICANCE`]:
/// P(D > d) ≤ 2 exp(−2 n d²) (Massart, "The Tight Constant in the Dvoretzky–Kiefer–Wolfowitz Inequality", Annals of
/// Probability 18 (1990)). The sample's own median as the centre only makes the distance smaller.
fn threshold(answers: usize) -> f64 {
    ((2.0 / SIGNIFICANCE).ln() / (2.0 * answers as f64)).sqrt()
}

#[cfg(test)]
mod tests {
    use shaper::link::{Link, Verdict};

    use super::*;

    fn condition(json: &str) -> Condition {
        serde_json::from_str(json).unwrap()
    }

    /// What requests of this train measure on our own link: its decisions, without the host's noise.
    fn round_trips(train: Train, in_force: Condition, seed: u64) -> Vec<f64> {
        let mut link = Link::new(in_force, seed);
        let sent = (0..train.echoes).map(|number| Duration::from_micros(train.interval_us) * number);
        let departed = |sent| match link.on_packet(sent, 84) {
            Verdict::SendAt(at) => Some((at - sent).as_secs_f64() * 1e3),
            Verdict::Drop(_) => None,
        };
        sent.filter_map(departed).collect()
    }

    #[test]
    fn a_jitter_in_force_is_seen_and_none_or_half_of_it_is_flagged() {
        for jitter in ["1ms", "5ms", "10ms", "25ms"] {
            let around = |jitter: &str| condition(&format!(r#"{{"delay":"50ms","jitter":"{jitter}"}}"#));
            let half = Delay::try_from(around(jitter).jitter.as_duration() / 2).unwrap();
            let requested = around(jitter);
            let train = train(&requested, 1_000).unwrap();
            let seen = |in_force, seed| {
                let spread = Spread::of(&round_trips(train, in_force, seed), requested.jitter).unwrap();
                assert!((spread.median_ms - 50.0).abs() < spread.median_tolerance_ms(requested.jitter), "{spread:?}");
                spread.mismatch(requested.jitter)
            };
            for seed in 0..300 {
                assert_eq!(seen(requested, seed), None, "{jitter} seed {seed}");
                assert!(seen(Condition { jitter: half, ..requested }, seed).is_some(), "half of {jitter}, seed {seed}");
            }
            assert!(seen(Condition { jitter: Delay::ZERO, ..requested }, 0).unwrap().contains("saw ±0.00 ms"));
        }
    }

    #[test]
    fn the_jitter_is_told_in_milliseconds() {
        let requested = condition(r#"{"delay":"50ms","jitter":"10ms"}"#);
        let spread =
            Spread::of(&round_trips(train(&requested, 1_000).unwrap(), requested, 7), requested.jitter).unwrap();
        assert!((spread.jitter_ms - 10.0).abs() < 2.0, "{spread:?}");
        assert_eq!(Spread::of(&[], requested.jitter), None);
    }

    #[test]
    fn requests_are_so_far_apart_that_none_waits_for_another_and_as_many_as_losses_leave_enough_of() {
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
    fn what_the_probe_cannot_tell_is_not_verified() {
        let few = Spread::of(&[50.0; 79], "10ms".parse().unwrap()).unwrap();
        assert!(few.mismatch("10ms".parse().unwrap()).unwrap().contains("79 answers are too few"));
        let little = Spread::of(&[50.0; 100], "0.1ms".parse().unwrap()).unwrap();
        assert!(little.mismatch("0.1ms".parse().unwrap()).unwrap().contains("too little for the probe"));
    }
}
