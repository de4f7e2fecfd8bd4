//! What a link is set to. Pure values: text in, text out, no I/O.
//!
//! Left out on purpose: direction. A shaper shapes what its own node sends; who wants both ways runs one at each end.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units::{Delay, Loss, QueueLimit, Rate};

/// What a link does to the packets that pass it. The empty condition is the baseline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Condition {
    /// Time added to each packet.
    pub delay: Delay,
    /// Half-width of the uniform spread around `delay`; never above it.
    pub jitter: Delay,
    /// Share of packets lost.
    pub loss: Loss,
    /// Bits per second, without which the link is as fast as the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Packets that may be in the link at once, without which [`Condition::effective_queue_limit`] sizes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_limit: Option<QueueLimit>,
}

/// Parts of a condition that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// A packet would have to leave before it came.
    #[error(
        "jitter '{jitter}' is above delay '{delay}': jitter spreads around the delay, so it can be at most as long"
    )]
    JitterAboveDelay {
        /// The jitter asked for.
        jitter: Delay,
        /// The delay asked for.
        delay: Delay,
    },
}

/// Size that the bandwidth-delay product is counted in: a full Ethernet frame's IP packet.
const FULL_PACKET_BITS: u128 = 1_500 * 8;

/// What one emulator thread forwards in GSO packets at best, 12 Gbit/s. The stall comes on top of it, so that without a
/// rate the queue is never the bottleneck.
const MAX_PACKETS_PER_SECOND: u128 = 1_000_000;

/// How long a busy host may keep the emulator from letting packets out before that costs packets.
const MAX_STALL: Duration = Duration::from_millis(50);

impl Condition {
    /// The unshaped link.
    pub const BASELINE: Self =
        Self { delay: Delay::ZERO, jitter: Delay::ZERO, loss: Loss::NONE, rate: None, queue_limit: None };

    /// Whether this is the unshaped link.
    pub fn is_baseline(&self) -> bool {
        *self == Self::BASELINE
    }

    /// Whether packets that arrive together leave together, so that nothing is lost by handling them as one: a delay
    /// and nothing else. All else is decided for each packet.
    pub fn keeps_gso_packets(&self) -> bool {
        *self == Self { delay: self.delay, ..Self::BASELINE }
    }

    /// Checks that the parts fit together.
    ///
    /// # Errors
    /// When jitter is above delay.
    pub fn validate(self) -> Result<Self, ConditionError> {
        if self.jitter > self.delay {
            return Err(ConditionError::JitterAboveDelay { jitter: self.jitter, delay: self.delay });
        }
        Ok(self)
    }

    /// The queue limit asked for, else the larger of netem's 1000 packets and the bandwidth-delay product in packets
    /// of 1500 bytes. Without a rate no real link has a queue, so it is more than the emulator could fill.
    pub fn effective_queue_limit(&self) -> QueueLimit {
        self.queue_limit.unwrap_or_else(|| {
            let in_flight = u32::try_from(self.packets_in_flight()).unwrap_or(u32::MAX);
            QueueLimit::from_packets(in_flight)
                .map_or(QueueLimit::NETEM_DEFAULT, |product| product.max(QueueLimit::NETEM_DEFAULT))
        })
    }

    fn packets_in_flight(&self) -> u128 {
        let longest = self.delay.as_duration() + self.jitter.as_duration();
        match self.rate {
            Some(rate) => {
                (longest.as_nanos() * u128::from(rate.bits_per_second())).div_ceil(FULL_PACKET_BITS * 1_000_000_000)
            }
            None => ((longest + MAX_STALL).as_nanos() * MAX_PACKETS_PER_SECOND).div_ceil(1_000_000_000),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_baseline() {
            return out.write_str("baseline");
        }
        let parts = [
            (self.delay != Delay::ZERO).then(|| format!("delay {}", self.delay)),
            (self.jitter != Delay::ZERO).then(|| format!("jitter {}", self.jitter)),
            (self.loss != Loss::NONE).then(|| format!("loss {}", self.loss)),
            self.rate.map(|rate| format!("rate {rate}")),
            self.queue_limit.map(|limit| format!("queue limit {limit}")),
        ];
        out.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(json: &str) -> Condition {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_condition_reads_as_a_person_would_say_it() {
        for (json, expected) in [
            ("{}", "baseline"),
            (r#"{"delay":"50ms","loss":"1%"}"#, "delay 50ms, loss 1%"),
            (r#"{"delay":"50ms","jitter":"5ms","rate":"1Mbit"}"#, "delay 50ms, jitter 5ms, rate 1Mbit"),
            (r#"{"queue_limit":"10"}"#, "queue limit 10"),
        ] {
            assert_eq!(condition(json).to_string(), expected);
        }
    }

    #[test]
    fn json_round_trips_and_unknown_parts_are_refused() {
        let full = condition(r#"{"delay":"50ms","jitter":"5ms","loss":"0.5%","rate":"1.5Mbit","queue_limit":"7"}"#);
        assert_eq!(condition(&serde_json::to_string(&full).unwrap()), full);
        assert_eq!(serde_json::from_str::<Condition>("{}").unwrap(), Condition::BASELINE);
        assert!(serde_json::from_str::<Condition>(r#"{"reorder":"1%"}"#).is_err());
    }

    #[test]
    fn jitter_above_delay_is_refused() {
        assert!(condition(r#"{"delay":"5ms","jitter":"5ms"}"#).validate().is_ok());
        let error = condition(r#"{"delay":"5ms","jitter":"6ms"}"#).validate().unwrap_err();
        assert!(error.to_string().starts_with("jitter '6ms' is above delay '5ms'"), "{error}");
    }

    #[test]
    fn only_a_delay_alone_keeps_bundles() {
        for (json, expected) in [
            ("{}", true),
            (r#"{"delay":"50ms"}"#, true),
            (r#"{"delay":"50ms","jitter":"1ms"}"#, false),
            (r#"{"delay":"50ms","loss":"1%"}"#, false),
            (r#"{"delay":"50ms","rate":"1Gbit"}"#, false),
            (r#"{"delay":"50ms","queue_limit":"1000"}"#, false),
        ] {
            assert_eq!(condition(json).keeps_gso_packets(), expected, "{json}");
        }
    }

    #[test]
    fn the_queue_is_sized_from_the_bandwidth_delay_product() {
        for (json, packets) in [
            (r#"{"rate":"1Mbit"}"#, 1_000),
            (r#"{"rate":"100Mbit","delay":"50ms"}"#, 1_000),
            (r#"{"rate":"1Gbit","delay":"100ms"}"#, 8_334),
            (r#"{"delay":"100ms"}"#, 150_000),
            (r#"{"delay":"90ms","jitter":"10ms"}"#, 150_000),
            (r#"{"loss":"1%"}"#, 50_000),
            (r#"{"delay":"100ms","queue_limit":"3"}"#, 3),
        ] {
            assert_eq!(condition(json).effective_queue_limit().packets(), packets, "{json}");
        }
    }
}
