//! What came of one operation: the shop's answer or why there is none, and what was measured on the way.

use std::io;
use std::time::Duration;

use serde::de::DeserializeOwned;
use shop_protocol::Response;
use shop_protocol::response::{DecodeError, ErrorBody};

use crate::sample::Outcome;

/// What was measured; `None` where the operation did not get that far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Measured {
    /// TCP handshake; `None` on a reused connection.
    pub connect: Option<Duration>,
    /// First byte of the request sent to last byte of the response arrived in the kernel.
    pub rtt: Option<Duration>,
    /// First byte of the request sent to first bytes of the response arrived in the kernel.
    pub first_byte: Option<Duration>,
    /// Actual start to response decoded or to giving up.
    pub service: Duration,
    /// Intended start to response decoded or to giving up.
    pub latency: Duration,
    /// The server's own handling time.
    pub server: Option<Duration>,
    /// Of this, waiting for a thread.
    pub server_queue: Option<Duration>,
    /// Of this, in the database.
    pub server_disk: Option<Duration>,
    /// The server's number of the exchange.
    pub exchange: Option<u64>,
    /// The kernel's smoothed round-trip time of the connection.
    pub tcp_rtt: Option<Duration>,
    /// The shortest round trip that the kernel saw on the connection.
    pub tcp_min_rtt: Option<Duration>,
    /// The kernel's retransmission timeout of the connection.
    pub tcp_rto: Option<Duration>,
    /// Segments sent again during the operation; with a new connection its SYNs too.
    pub tcp_retransmits: Option<u32>,
    /// Bytes of the request frame with its prefix.
    pub request_bytes: Option<u64>,
    /// Bytes of the response frame with its prefix.
    pub response_bytes: Option<u64>,
}

/// One operation that was tried.
#[derive(Debug)]
pub struct Answer<T> {
    /// What was measured.
    pub measured: Measured,
    /// What the shop answered.
    pub result: Result<T, Failure>,
}

impl<T> Answer<T> {
    /// How it ended, as the sample says it.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.result.as_ref().err().map_or(Outcome::Ok, Failure::outcome)
    }
}

/// Why an operation gave no result.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The shop said no.
    #[error("refused: {0}")]
    Refused(ErrorBody),
    /// No complete answer in this time.
    #[error("no complete answer within {0:?}")]
    Timeout(Duration),
    /// No connection: refused, unreachable, or the handshake took too long.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// The connection broke before the answer was complete.
    #[error("the connection broke: {0}")]
    Reset(io::Error),
    /// The answer is not what the protocol allows.
    #[error("not what the protocol allows: {0}")]
    Protocol(String),
}

impl Failure {
    /// The word for it in the sample.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Failure::Refused(_) => Outcome::Refused,
            Failure::Timeout(_) => Outcome::Timeout,
            Failure::Connect(_) => Outcome::ConnectFailed,
            Failure::Reset(_) => Outcome::Reset,
            Failure::Protocol(_) => Outcome::Protocol,
        }
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Refused(body) => Failure::Refused(body),
            other => Failure::Protocol(other.to_string()),
        }
    }
}

/// Reads the payload of a response frame.
pub(super) fn decode<T: DeserializeOwned>(payload: &[u8], measured: &mut Measured) -> Result<T, Failure> {
    let response: Response =
        serde_json::from_slice(payload).map_err(|error| Failure::Protocol(format!("no response: {error}")))?;
    measured.server = Some(Duration::from_micros(response.server_us));
    measured.server_queue = response.queue_us.map(Duration::from_micros);
    measured.server_disk = response.disk_us.map(Duration::from_micros);
    measured.exchange = response.exchange;
    Ok(response.into_result()?)
}

#[cfg(test)]
mod tests {
    use shop_protocol::response::Registered;

    use super::*;

    fn outcome_of(payload: &str) -> Outcome {
        let mut measured = Measured::default();
        let result = decode::<Registered>(payload.as_bytes(), &mut measured);
        Answer { measured, result }.outcome()
    }

    #[test]
    fn an_answer_is_ok_refused_or_not_the_protocol() {
        for (payload, outcome) in [
            (r#"{"ok":true,"server_us":5,"result":{"user_id":1}}"#, Outcome::Ok),
            (r#"{"ok":false,"server_us":5,"error":{"code":"username_taken","message":"taken"}}"#, Outcome::Refused),
            (r#"{"ok":true,"server_us":5}"#, Outcome::Protocol),
            (r#"{"ok":false,"server_us":5,"result":{"user_id":1}}"#, Outcome::Protocol),
            (r#"{"ok":true,"server_us":5,"result":{"id":1}}"#, Outcome::Protocol),
            (r#"{"ok":true,"result":{"user_id":1}}"#, Outcome::Protocol),
            (r#"{"ok":true,"server_us":5,"result":{"user_id":1}"#, Outcome::Protocol),
            ("", Outcome::Protocol),
        ] {
            assert_eq!(outcome_of(payload), outcome, "{payload}");
        }
    }

    #[test]
    fn the_server_times_are_kept_also_when_it_says_no() {
        let mut measured = Measured::default();
        let payload = br#"{"ok":false,"server_us":70,"queue_us":9,"disk_us":0,"exchange":4,
                           "error":{"code":"internal","message":"x"}}"#;
        assert!(decode::<Registered>(payload, &mut measured).is_err());
        assert_eq!(measured.server, Some(Duration::from_micros(70)));
        assert_eq!(measured.server_queue, Some(Duration::from_micros(9)));
        assert_eq!((measured.server_disk, measured.exchange), (Some(Duration::ZERO), Some(4)));
    }

    #[test]
    fn what_an_older_server_does_not_tell_stays_unknown() {
        let mut measured = Measured::default();
        decode::<Registered>(br#"{"ok":true,"server_us":5,"result":{"user_id":1}}"#, &mut measured).unwrap();
        assert_eq!(measured, Measured { server: Some(Duration::from_micros(5)), ..Measured::default() });
    }
}
