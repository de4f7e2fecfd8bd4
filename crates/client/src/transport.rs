//! Carrying requests to the shop and measuring each: connecting, sending, reading, decoding.
//!
//! Clocks are read directly around the I/O, never around a timer: a runtime's timers fire a millisecond late, its
//! sockets do not.

mod connection;
mod exchange;
mod rx_timestamp;
mod shop_address;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use model::settings::ConnectionMode;
use protocol::{Port, Request, encode_frame};
use serde::de::DeserializeOwned;

use connection::Connection;
pub use exchange::{Exchange, ExchangeError, ExchangeTiming};
pub use shop_address::ShopAddress;

/// Where the shop listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoints {
    /// The server's address.
    pub address: IpAddr,
    /// TCP port of the accounts commands.
    pub accounts_port: u16,
    /// TCP port of the shop commands.
    pub shop_port: u16,
}

impl Endpoints {
    fn socket(&self, port: Port) -> SocketAddr {
        let number = match port {
            Port::Accounts => self.accounts_port,
            Port::Shop => self.shop_port,
        };
        SocketAddr::new(self.address, number)
    }
}

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a TCP handshake.
    pub connect: Duration,
    /// From the first byte of the request sent to the last byte of the response read.
    pub request: Duration,
}

/// One virtual user's way to the shop.
#[derive(Debug)]
pub struct Transport {
    endpoints: Endpoints,
    mode: ConnectionMode,
    timeouts: Timeouts,
    /// Connections kept open, by port; both empty when each request has its own.
    accounts: Option<Connection>,
    shop: Option<Connection>,
}

impl Transport {
    /// A way that has no connection yet.
    #[must_use]
    pub fn new(endpoints: Endpoints, mode: ConnectionMode, timeouts: Timeouts) -> Self {
        Self { endpoints, mode, timeouts, accounts: None, shop: None }
    }

    /// Sends `request` and reads what comes of it. `intended` is when the virtual user wanted to start; now is when it
    /// does.
    ///
    /// Dropping the future gives the operation up; its connection is not used again.
    pub async fn exchange<T: DeserializeOwned>(&mut self, request: &Request, intended: Instant) -> Exchange<T> {
        let start = Instant::now();
        let mut measured = ExchangeTiming::default();
        let result = self.carry(request, &mut measured).await;
        // One reading for both, so that they differ by the wait and nothing else.
        let end = Instant::now();
        measured.latency = end.saturating_duration_since(intended);
        measured.service = end.saturating_duration_since(start);
        Exchange { measured, result }
    }

    async fn carry<T: DeserializeOwned>(
        &mut self,
        request: &Request,
        measured: &mut ExchangeTiming,
    ) -> Result<T, ExchangeError> {
        let frame = frame_of(request)?;
        let mut connection = self.connection(request.port(), measured).await?;
        measured.request_bytes = Some(frame.len() as u64);
        let received = connection.round_trip(&frame, self.timeouts.request, measured).await;
        let result = received.and_then(|payload| exchange::decode(&payload, measured));
        connection.read_tcp_info(measured);
        let usable = matches!(result, Ok(_) | Err(ExchangeError::Refused(_)));
        if usable && self.mode == ConnectionMode::Persistent {
            *self.kept(request.port()) = Some(connection);
        }
        result
    }

    fn kept(&mut self, port: Port) -> &mut Option<Connection> {
        match port {
            Port::Accounts => &mut self.accounts,
            Port::Shop => &mut self.shop,
        }
    }

    /// The connection kept for `port`, if it is still good, else a new one.
    async fn connection(&mut self, port: Port, measured: &mut ExchangeTiming) -> Result<Connection, ExchangeError> {
        if let Some(kept) = self.kept(port).take().filter(Connection::is_quiet) {
            return Ok(kept);
        }
        Connection::open(self.endpoints.socket(port), self.timeouts.connect, measured).await
    }
}

fn frame_of(request: &Request) -> Result<Vec<u8>, ExchangeError> {
    let payload = serde_json::to_vec(request).map_err(|error| ExchangeError::Protocol(error.to_string()))?;
    encode_frame(&payload).map_err(|error| ExchangeError::Protocol(error.to_string()))
}
