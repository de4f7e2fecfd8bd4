//! Maximum number of packets in a link.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use super::decimal;

/// Maximum number of packets in a link, queued for the rate limit or in flight; at least 1.
///
/// It also limits the packet rate: with a delay of 100 ms, 1000 packets limit it to 10 000 packets per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueLimit {
    packets: NonZeroU32,
}

/// Invalid text or number for a queue limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid queue limit '{input}': expected a whole number of packets from 1 to 4294967295 (e.g. 1000)")]
pub struct QueueLimitError {
    input: String,
}

impl QueueLimit {
    /// netem's default, 1000 packets.
    pub const NETEM_DEFAULT: Self = Self { packets: NonZeroU32::new(1_000).unwrap() };

    /// Creates a limit of `packets` packets.
    ///
    /// # Errors
    /// `packets` is zero.
    pub fn from_packets(packets: u32) -> Result<Self, QueueLimitError> {
        NonZeroU32::new(packets)
            .map(|packets| Self { packets })
            .ok_or_else(|| QueueLimitError { input: packets.to_string() })
    }

    /// Returns the limit in packets.
    pub fn packets(self) -> u32 {
        self.packets.get()
    }
}

impl FromStr for QueueLimit {
    type Err = QueueLimitError;

    fn from_str(text: &str) -> Result<Self, QueueLimitError> {
        decimal::parse(text.trim(), 0)
            .and_then(|packets| u32::try_from(packets).ok())
            .and_then(|packets| Self::from_packets(packets).ok())
            .ok_or_else(|| QueueLimitError { input: text.to_owned() })
    }
}

impl fmt::Display for QueueLimit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.packets.fmt(out)
    }
}

decimal::serde_as_text!(QueueLimit);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_limit_is_rejected_and_quoted() {
        for text in ["", "0", "-1", "1.5", "many", "4294967296"] {
            let error = text.parse::<QueueLimit>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid queue limit '{text}': expected a whole number")), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn text_round_trips(packets in 1..=u32::MAX) {
            let limit = QueueLimit::from_packets(packets).unwrap();
            proptest::prop_assert_eq!(limit.to_string().parse(), Ok(limit));
        }
    }
}
