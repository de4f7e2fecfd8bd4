//! What came of one operation: the shop's answer or why there is none, and what was measured on the way.

use std::io;
use std::time::Duration;

use protocol::Response;
use protocol::response::{DecodeError, ErrorBody};
use serde::de::DeserializeOwned;

use model::sample::Outcome;

/// What was measured; `None` where the operation did not get that far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExchangeTiming {
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
    pub server_database: Option<Duration>,
    /// The server's number of the exchange.
    pub exchange_id: Option<u64>,
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
pub struct Exchange<T> {
    /// What was measured.
    pub measured: ExchangeTiming,
    /// What the shop answered.
    pub result: Result<T, ExchangeError>,
}

impl<T> Exchange<T> {
    /// How it ended, as the sample says it.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.result.as_ref().err().map_or(Outcome::Ok, ExchangeError::outcome)
    }
}

/// Why an operation gave no result.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
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

impl ExchangeError {
    /// The word for it in the sample.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            ExchangeError::Refused(_) => Outcome::Refused,
            ExchangeError::Timeout(_) => Outcome::Timeout,
            ExchangeError::Connect(_) => Outcome::ConnectFailed,
            ExchangeError::Reset(_) => Outcome::Reset,
            ExchangeError::Protocol(_) => Outcome::Protocol,
        }
    }
}

impl From<DecodeError> for ExchangeError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Refused(body) => ExchangeError::Refused(body),
            other => ExchangeError::Protocol(other.to_string()),
        }
    }
}

/// Reads the payload of a response frame.
pub(super) fn decode<T: DeserializeOwned>(payload: &[u8], measured: &mut ExchangeTiming) -> Result<T, ExchangeError> {
    let response: Response =
        serde_json::from_slice(payload).map_err(|error| ExchangeError::Protocol(format!("no response: {error}")))?;
    measured.server = Some(Duration::from_micros(response.server_us));
    measured.server_queue = response.queue_us.map(Duration::from_micros);
    measured.server_database = response.database_us.map(Duration::from_micros);
    measured.exchange_id = response.exchange_id;
    Ok(response.into_result()?)
}

#[cfg(test)]
mod tests {
    use protocol::response::Registered;

    use super::*;

    fn outcome_of(payload: &str) -> Outcome {
        let mut measured = ExchangeTiming::default();
        let result = decode::<Registered>(payload.as_bytes(), &mut measured);
        Exchange { measured, result }.outcome()
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
        let mut measured = ExchangeTiming::default();
        let payload = br#"{"ok":false,"server_us":70,"queue_us":9,"database_us":0,"exchange_id":4,
                           "error":{"code":"internal","message":"x"}}"#;
        assert!(decode::<Registered>(payload, &mut measured).is_err());
        assert_eq!(measured.server, Some(Duration::from_micros(70)));
        assert_eq!(measured.server_queue, Some(Duration::from_micros(9)));
        assert_eq!((measured.server_database, measured.exchange_id), (Some(Duration::ZERO), Some(4)));
    }

    #[test]
    fn what_an_older_server_does_not_tell_stays_unknown() {
        let mut measured = ExchangeTiming::default();
        decode::<Registered>(br#"{"ok":true,"server_us":5,"result":{"user_id":1}}"#, &mut measured).unwrap();
        assert_eq!(measured, ExchangeTiming { server: Some(Duration::from_micros(5)), ..ExchangeTiming::default() });
    }
}
