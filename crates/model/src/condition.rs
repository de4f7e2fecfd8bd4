//! Condition of a link: its settings and their text form. Pure: no I/O.
//!
//! A condition has no direction. A shaper shapes the packets that its own node sends; to shape both directions, run one
//! shaper at each end.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units::{Delay, Loss, QueueLimit, Rate};

/// All settings of a link. The empty condition is the baseline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Condition {
    /// Time added to each packet.
    pub delay: Delay,
    /// Half-width of the uniform spread around `delay`; never above it.
    pub jitter: Delay,
    /// Fraction of packets lost.
    pub loss: Loss,
    /// Rate limit; `None`: unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Maximum number of packets in the link; `None`: [`Condition::effective_queue_limit`] derives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_limit: Option<QueueLimit>,
}

/// Inconsistent settings of a condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// The jitter would make some delays negative.
    #[error("invalid jitter '{jitter}': must not exceed the delay '{delay}'")]
    JitterAboveDelay {
        /// The requested jitter.
        jitter: Delay,
        /// The requested delay.
        delay: Delay,
    },
}

/// Packet size for the bandwidth-delay product: the IP packet of a full Ethernet frame.
const FULL_PACKET_BITS: u128 = 1_500 * 8;

/// Maximum rate at which an emulator thread forwards GSO packets (12 Gbit/s). With [`MAX_STALL`] in addition, the queue is never
/// the bottleneck of a link without a rate limit.
const MAX_PACKETS_PER_SECOND: u128 = 1_000_000;

/// Maximum time that an overloaded host may prevent the emulator from sending before packets are dropped.
const MAX_STALL: Duration = Duration::from_millis(50);

impl Condition {
    /// The unshaped link.
    pub const BASELINE: Self =
        Self { delay: Delay::ZERO, jitter: Delay::ZERO, loss: Loss::NONE, rate: None, queue_limit: None };

    /// Returns whether this is the baseline.
    pub fn is_baseline(&self) -> bool {
        *self == Self::BASELINE
    }

    /// Returns whether GSO packets may stay whole: with a delay alone, packets that arrive together leave together. All
    /// other settings apply to each wire packet.
    pub fn keeps_gso_packets(&self) -> bool {
        *self == Self { delay: self.delay, ..Self::BASELINE }
    }

    /// Checks that the settings are consistent.
    ///
    /// # Errors
    /// The jitter exceeds the delay.
    pub fn validate(self) -> Result<Self, ConditionError> {
        if self.jitter > self.delay {
            return Err(ConditionError::JitterAboveDelay { jitter: self.jitter, delay: self.delay });
        }
        Ok(self)
    }

    /// Returns the requested queue limit. Without one, returns the larger of netem's 1000 packets and the bandwidth-delay
    /// product in packets of 1500 bytes. Without a rate limit, the queue never fills: a real link would have none.
    pub fn effective_queue_limit(&self) -> QueueLimit {
        self.queue_limit.unwrap_or_else(|| {
            let in_flight = u32::try_from(self.packets_in_flight()).unwrap_or(u32::MAX);
            QueueLimit::from_packets(in_flight)
                .map_or(QueueLimit::NETEM_DEFAULT, |product| product.max(QueueLimit::NETEM_DEFAULT))
        })
    }

    fn packets_in_flight(&self) -> u128 {
        let max_delay = self.delay.as_duration() + self.jitter.as_duration();
        match self.rate {
            Some(rate) => {
                (max_delay.as_nanos() * u128::from(rate.bits_per_second())).div_ceil(FULL_PACKET_BITS * 1_000_000_000)
            }
            None => ((max_delay + MAX_STALL).as_nanos() * MAX_PACKETS_PER_SECOND).div_ceil(1_000_000_000),
        }
    }
}

/// Parses the syntax of the command line: `delay=50ms,loss=1%,rate=1Mbit`.
impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut settings = serde_json::Map::new();
        for part in text.split(',') {
            let expected =
                || format!("invalid condition '{part}': expected NAME=VALUE (e.g. delay=50ms,loss=1%,rate=1Mbit)");
            let (name, value) = part.split_once('=').ok_or_else(expected)?;
            if settings.insert(name.trim().to_owned(), value.trim().into()).is_some() {
                return Err(format!("duplicate setting '{name}'"));
            }
        }
        let condition: Self = serde_json::from_value(settings.into()).map_err(|error| error.to_string())?;
        condition.validate().map_err(|error| error.to_string())
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
    fn a_condition_is_parsed_by_names_and_an_invalid_one_is_rejected_by_name() {
        let condition: Condition = "delay=50ms, jitter=5ms,loss=1%,queue_limit=9".parse().unwrap();
        assert_eq!(condition.to_string(), "delay 50ms, jitter 5ms, loss 1%, queue limit 9");
        for (text, expected) in [
            ("50ms", "expected NAME=VALUE"),
            ("delay=50ms,delay=60ms", "duplicate setting 'delay'"),
            ("lag=50ms", "lag"),
            ("loss=one", "one"),
            ("jitter=5ms", "jitter"),
        ] {
            let error = text.parse::<Condition>().unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_condition_is_displayed_as_a_list_of_its_settings() {
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
    fn json_round_trips_and_unknown_settings_are_rejected() {
        let full = condition(r#"{"delay":"50ms","jitter":"5ms","loss":"0.5%","rate":"1.5Mbit","queue_limit":"7"}"#);
        assert_eq!(condition(&serde_json::to_string(&full).unwrap()), full);
        assert_eq!(serde_json::from_str::<Condition>("{}").unwrap(), Condition::BASELINE);
        assert!(serde_json::from_str::<Condition>(r#"{"reorder":"1%"}"#).is_err());
    }

    #[test]
    fn jitter_above_delay_is_rejected() {
        assert!(condition(r#"{"delay":"5ms","jitter":"5ms"}"#).validate().is_ok());
        let error = condition(r#"{"delay":"5ms","jitter":"6ms"}"#).validate().unwrap_err();
        assert!(error.to_string().starts_with("invalid jitter '6ms': must not exceed the delay '5ms'"), "{error}");
    }

    #[test]
    fn only_a_delay_alone_keeps_gso_packets() {
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
