//! Result and measured times of one exchange.

use std::io;
use std::time::Duration;

use protocol::response::DecodeError;
use protocol::{ErrorBody, Response};
use serde::de::DeserializeOwned;

use model::sample::Outcome;

/// Measured times and sizes; `None` if the exchange ended before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExchangeTiming {
    /// TCP handshake; `None` on a reused connection.
    pub connect: Option<Duration>,
    /// TLS handshake, with the computations of both ends; `None` on a reused connection and in clear text.
    pub tls: Option<Duration>,
    /// Round trips of the TLS handshake.
    pub tls_round_trips: Option<u32>,
    /// First byte of the request sent to last byte of the response received by the kernel.
    pub rtt: Option<Duration>,
    /// First byte of the request sent to first bytes of the response received by the kernel.
    pub first_byte: Option<Duration>,
    /// Actual start to response decoded, or to the error.
    pub service: Duration,
    /// Intended start to response decoded, or to the error.
    pub latency: Duration,
    /// Processing time in the server.
    pub server: Option<Duration>,
    /// Part of `server` spent waiting for a thread.
    pub server_queue: Option<Duration>,
    /// Part of `server` spent in the database.
    pub server_database: Option<Duration>,
    /// Number that the server gave the exchange.
    pub exchange_id: Option<u64>,
    /// Smoothed RTT of the connection, by the kernel.
    pub tcp_rtt: Option<Duration>,
    /// Minimum RTT of the connection, by the kernel.
    pub tcp_min_rtt: Option<Duration>,
    /// Retransmission timeout of the connection, by the kernel.
    pub tcp_rto: Option<Duration>,
    /// Segments retransmitted during the operation, including SYNs of a new connection.
    pub tcp_retransmits: Option<u32>,
    /// Bytes of the request frame, with its length prefix.
    pub request_bytes: Option<u64>,
    /// Bytes of the response frame, with its length prefix.
    pub response_bytes: Option<u64>,
}

/// One request and its response, or the error.
#[derive(Debug)]
pub struct Exchange<T> {
    /// Measured times and sizes.
    pub measured: ExchangeTiming,
    /// Result in the response.
    pub result: Result<T, ExchangeError>,
}

impl<T> Exchange<T> {
    /// Returns the outcome for the sample.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.result.as_ref().err().map_or(Outcome::Ok, ExchangeError::outcome)
    }
}

/// Reason for an exchange without a result.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The shop refused the request.
    #[error("refused: {0}")]
    Refused(ErrorBody),
    /// The response was not complete within this time.
    #[error("no complete response within {0:?}")]
    Timeout(Duration),
    /// No connection: refused, unreachable, or timeout or failure of a handshake.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// The connection was closed before the response was complete.
    #[error("connection closed before the response was complete: {0}")]
    Reset(io::Error),
    /// The response violates the protocol.
    #[error("invalid response: {0}")]
    Protocol(String),
}

impl ExchangeError {
    /// Returns the outcome for the sample.
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

/// Decodes the payload of a response frame, and adds the server's times to `measured`.
pub(super) fn decode<T: DeserializeOwned>(payload: &[u8], measured: &mut ExchangeTiming) -> Result<T, ExchangeError> {
    let response: Response =
        serde_json::from_slice(payload).map_err(|error| ExchangeError::Protocol(error.to_string()))?;
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
    fn a_response_is_ok_refused_or_a_protocol_error() {
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
    fn the_servers_times_are_read_from_refusals_too() {
        let mut measured = ExchangeTiming::default();
        let payload = br#"{"ok":false,"server_us":70,"queue_us":9,"database_us":0,"exchange_id":4,
                           "error":{"code":"internal","message":"x"}}"#;
        assert!(decode::<Registered>(payload, &mut measured).is_err());
        assert_eq!(measured.server, Some(Duration::from_micros(70)));
        assert_eq!(measured.server_queue, Some(Duration::from_micros(9)));
        assert_eq!((measured.server_database, measured.exchange_id), (Some(Duration::ZERO), Some(4)));
    }

    #[test]
    fn times_that_an_older_server_omits_are_none() {
        let mut measured = ExchangeTiming::default();
        decode::<Registered>(br#"{"ok":true,"server_us":5,"result":{"user_id":1}}"#, &mut measured).unwrap();
        assert_eq!(measured, ExchangeTiming { server: Some(Duration::from_micros(5)), ..ExchangeTiming::default() });
    }
}
