//! One TCP connection to the shop: opening it, one request and response at a time, and its kernel statistics.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use protocol::FrameDecoder;
use tcp_info::TcpInfo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::transport::exchange::{ExchangeError, ExchangeTiming};
use crate::transport::rx_timestamp;

/// Read from the socket at once, bytes.
const READ_BYTES: usize = 16 * 1024;
/// The length prefix of a frame, bytes.
const PREFIX_BYTES: u64 = protocol::frame::PREFIX_BYTES as u64;

/// An open connection with nothing in flight.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    decoder: FrameDecoder,
    /// When the first and the last bytes of the response that is in flight arrived, so far.
    arrived: Option<(Instant, Instant)>,
    /// Segments sent again up to the end of the last operation.
    retransmits_before: u32,
}

impl Connection {
    /// Connects, without Nagle's delay.
    pub(super) async fn open(
        address: SocketAddr,
        limit: Duration,
        measured: &mut ExchangeTiming,
    ) -> Result<Self, ExchangeError> {
        let start = Instant::now();
        let opened = timeout(limit, TcpStream::connect(address)).await;
        let stream = opened.unwrap_or_else(|_| Err(handshake_timeout(limit))).map_err(ExchangeError::Connect)?;
        measured.connect = Some(start.elapsed());
        stream.set_nodelay(true).map_err(ExchangeError::Connect)?;
        rx_timestamp::stamp(&stream);
        Ok(Self { stream, decoder: FrameDecoder::default(), arrived: None, retransmits_before: 0 })
    }

    /// Whether the server neither closed the connection nor sent something unasked since the last operation.
    pub(super) fn is_quiet(&self) -> bool {
        let mut byte = [0];
        matches!(self.stream.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends a frame and reads the payload of the next one.
    pub(super) async fn round_trip(
        &mut self,
        frame: &[u8],
        limit: Duration,
        measured: &mut ExchangeTiming,
    ) -> Result<Vec<u8>, ExchangeError> {
        let start = Instant::now();
        let received = timeout(limit, self.send_and_read(frame)).await.unwrap_or(Err(ExchangeError::Timeout(limit)));
        let (first, last) = self.arrived.take().unzip();
        // Also when the rest did not come.
        measured.first_byte = first.map(|at| at.duration_since(start));
        let payload = received?;
        measured.rtt = last.map(|at| at.duration_since(start));
        measured.response_bytes = Some(PREFIX_BYTES + payload.len() as u64);
        Ok(payload)
    }

    async fn send_and_read(&mut self, frame: &[u8]) -> Result<Vec<u8>, ExchangeError> {
        // A server that is full answers without reading and closes: then sending fails, and the answer is there.
        let sent = self.stream.write_all(frame).await;
        let read = self.read_payload().await;
        match (sent, read) {
            (Err(error), Err(_)) => Err(ExchangeError::Reset(error)),
            (_, read) => read,
        }
    }

    async fn read_payload(&mut self) -> Result<Vec<u8>, ExchangeError> {
        loop {
            let whole = self.decoder.next_frame().map_err(|error| ExchangeError::Protocol(error.to_string()))?;
            if let Some(payload) = whole {
                return Ok(payload.to_vec());
            }
            self.stream.readable().await.map_err(ExchangeError::Reset)?;
            match self.read_available() {
                Ok(0) => return Err(ExchangeError::Reset(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(ExchangeError::Reset(error)),
            }
        }
    }

    /// Not async, so that its buffer stands on the thread's stack and not in each of ten thousand tasks.
    fn read_available(&mut self) -> io::Result<usize> {
        let mut buffer = [0; READ_BYTES];
        let (count, at) = rx_timestamp::read(&self.stream, &mut buffer)?;
        if count > 0 {
            let (first, _) = self.arrived.unwrap_or((at, at));
            self.arrived = Some((first, at));
        }
        self.decoder.feed(&buffer[..count]);
        Ok(count)
    }

    /// Takes the kernel's view of the connection into `measured`.
    pub(super) fn read_tcp_info(&mut self, measured: &mut ExchangeTiming) {
        let Ok(info) = TcpInfo::of(&self.stream) else { return };
        measured.tcp_rtt = info.rtt;
        measured.tcp_min_rtt = info.min_rtt;
        measured.tcp_rto = info.rto;
        if let Some(total) = info.total_retransmits {
            measured.tcp_retransmits = Some(total.wrapping_sub(self.retransmits_before));
            self.retransmits_before = total;
        }
    }
}

fn handshake_timeout(limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no handshake within {limit:?}"))
}
