//! One TCP connection to the shop: handshake, one exchange at a time, and the kernel's statistics.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::FrameDecoder;
use rustls::ClientConfig;
use tcp_info::TcpInfo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::transport::exchange::{ExchangeError, ExchangeTiming};
use crate::transport::stream::Stream;

/// Length prefix of a frame, bytes.
const PREFIX_BYTES: u64 = protocol::frame::PREFIX_BYTES as u64;

/// An open connection with nothing in flight.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    decoder: FrameDecoder,
    /// Arrival times of the first and the latest bytes of the current response.
    arrived: Option<(Instant, Instant)>,
    /// Segments retransmitted until the end of the last operation.
    retransmits_before: u32,
}

impl Connection {
    /// Connects, disables Nagle's algorithm, and with `tls` performs its handshake.
    pub(super) async fn open(
        address: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
        limit: Duration,
        measured: &mut ExchangeTiming,
    ) -> Result<Self, ExchangeError> {
        let opened = timeout(limit, open(address, tls, measured)).await;
        let stream = opened.unwrap_or_else(|_| Err(handshake_timeout(limit))).map_err(ExchangeError::Connect)?;
        Ok(Self { stream, decoder: FrameDecoder::default(), arrived: None, retransmits_before: 0 })
    }

    /// Returns whether the server neither closed the connection nor sent unrequested bytes since the last operation.
    pub(super) fn is_usable(&self) -> bool {
        let mut byte = [0];
        matches!(self.stream.tcp().try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends a frame and returns the payload of the response's.
    pub(super) async fn round_trip(
        &mut self,
        frame: &[u8],
        limit: Duration,
        measured: &mut ExchangeTiming,
    ) -> Result<Vec<u8>, ExchangeError> {
        let start = Instant::now();
        let received = timeout(limit, self.send_and_read(frame)).await.unwrap_or(Err(ExchangeError::Timeout(limit)));
        let (first, last) = self.arrived.take().unzip();
        // Measured even if the rest of the response is missing.
        measured.first_byte = first.map(|at| at.duration_since(start));
        let payload = received?;
        measured.rtt = last.map(|at| at.duration_since(start));
        measured.response_bytes = Some(PREFIX_BYTES + payload.len() as u64);
        Ok(payload)
    }

    async fn send_and_read(&mut self, frame: &[u8]) -> Result<Vec<u8>, ExchangeError> {
        // A server at its connection limit responds without reading and closes: sending fails, but there is a response.
        let sent = self.stream.send(frame).await;
        let read = self.read_payload().await;
        match (sent, read) {
            (Err(error), Err(_)) => Err(ExchangeError::Reset(error)),
            (_, read) => read,
        }
    }

    async fn read_payload(&mut self) -> Result<Vec<u8>, ExchangeError> {
        loop {
            let frame = self.decoder.next_frame().map_err(|error| ExchangeError::Protocol(error.to_string()))?;
            if let Some(payload) = frame {
                return Ok(payload.to_vec());
            }
            let at = self.stream.receive(&mut self.decoder).await.map_err(ExchangeError::Reset)?;
            let (first, _) = self.arrived.unwrap_or((at, at));
            self.arrived = Some((first, at));
        }
    }

    /// Adds the kernel's statistics of the connection to `measured`.
    pub(super) fn read_tcp_info(&mut self, measured: &mut ExchangeTiming) {
        let Ok(info) = TcpInfo::of(self.stream.tcp()) else { return };
        measured.tcp_rtt = info.rtt;
        measured.tcp_min_rtt = info.min_rtt;
        measured.tcp_rto = info.rto;
        if let Some(total) = info.total_retransmits {
            measured.tcp_retransmits = Some(total.wrapping_sub(self.retransmits_before));
            self.retransmits_before = total;
        }
    }
}

async fn open(
    address: SocketAddr,
    tls: Option<&Arc<ClientConfig>>,
    measured: &mut ExchangeTiming,
) -> io::Result<Stream> {
    let start = Instant::now();
    let tcp = TcpStream::connect(address).await?;
    let connected = Instant::now();
    measured.connect = Some(connected - start);
    tcp.set_nodelay(true)?;
    let mut stream = Stream::new(tcp);
    if let Some(config) = tls {
        let handshake = stream.encrypt(address.ip(), config).await;
        let round_trips = handshake.map_err(|error| io::Error::new(error.kind(), format!("TLS handshake: {error}")))?;
        measured.tls_round_trips = Some(round_trips);
        measured.tls = Some(connected.elapsed());
    }
    Ok(stream)
}

fn handshake_timeout(limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no handshake within {limit:?}"))
}
