//! Sends requests to the shop and measures each: handshakes, RTT, decoding.
//!
//! Clocks are read directly around the I/O, never around a timer: a runtime's timers fire a millisecond late, its
//! sockets do not.

mod connection;
mod exchange;
mod rx_timestamp;
mod shop_address;
mod stream;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::settings::ConnectionMode;
use protocol::{Port, Request, encode_frame};
use rustls::ClientConfig;
use serde::de::DeserializeOwned;

use connection::Connection;
pub use exchange::{Exchange, ExchangeError, ExchangeTiming};
pub use shop_address::ShopAddress;

/// Address and ports of the shop.
#[derive(Debug, Clone)]
pub struct Endpoints {
    /// Address of the server.
    pub address: IpAddr,
    /// TCP port of the accounts commands.
    pub accounts_port: u16,
    /// TCP port of the shop commands.
    pub shop_port: u16,
    /// Client's end of TLS; `None` for clear text.
    pub tls: Option<Arc<ClientConfig>>,
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

/// Maximum durations of a handshake and of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Timeout of the handshakes, TCP and TLS together.
    pub connect: Duration,
    /// Timeout from the first byte of the request sent to the last byte of the response read.
    pub request: Duration,
}

/// Connections of one virtual user to the shop.
#[derive(Debug)]
pub struct Transport {
    endpoints: Endpoints,
    mode: ConnectionMode,
    timeouts: Timeouts,
    /// Open connections, by port; always `None` with a connection per request.
    accounts: Option<Connection>,
    shop: Option<Connection>,
}

impl Transport {
    /// Creates a transport without connections.
    #[must_use]
    pub fn new(endpoints: Endpoints, mode: ConnectionMode, timeouts: Timeouts) -> Self {
        Self { endpoints, mode, timeouts, accounts: None, shop: None }
    }

    /// Sends `request` and reads the response. `intended` is the intended start; the actual start is the call.
    ///
    /// Dropping the future ends the operation and closes its connection.
    pub async fn exchange<T: DeserializeOwned>(&mut self, request: &Request, intended: Instant) -> Exchange<T> {
        let start = Instant::now();
        let mut measured = ExchangeTiming::default();
        let result = self.send(request, &mut measured).await;
        // One clock reading for both: they differ exactly by the wait.
        let end = Instant::now();
        measured.latency = end.saturating_duration_since(intended);
        measured.service = end.saturating_duration_since(start);
        Exchange { measured, result }
    }

    async fn send<T: DeserializeOwned>(
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
        let is_usable = matches!(result, Ok(_) | Err(ExchangeError::Refused(_)));
        if is_usable && self.mode == ConnectionMode::Persistent {
            *self.open_connection(request.port()) = Some(connection);
        }
        result
    }

    fn open_connection(&mut self, port: Port) -> &mut Option<Connection> {
        match port {
            Port::Accounts => &mut self.accounts,
            Port::Shop => &mut self.shop,
        }
    }

    /// Returns the open connection to `port` if it is still usable, otherwise a new one.
    async fn connection(&mut self, port: Port, measured: &mut ExchangeTiming) -> Result<Connection, ExchangeError> {
        if let Some(connection) = self.open_connection(port).take().filter(Connection::is_usable) {
            return Ok(connection);
        }
        let Endpoints { tls, .. } = &self.endpoints;
        Connection::open(self.endpoints.socket(port), tls.as_ref(), self.timeouts.connect, measured).await
    }
}

fn frame_of(request: &Request) -> Result<Vec<u8>, ExchangeError> {
    let payload = serde_json::to_vec(request).map_err(|error| ExchangeError::Protocol(error.to_string()))?;
    encode_frame(&payload).map_err(|error| ExchangeError::Protocol(error.to_string()))
}
