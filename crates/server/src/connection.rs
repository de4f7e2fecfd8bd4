//! One connection: frames in, responses out, in the same order, until one side has had enough.
//!
//! Whole frames that are waiting are all answered before the responses are written, so that a pipelining client costs
//! few system calls. Time limits: a request that has started must become whole, and something must move now and then.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use protocol::{ErrorBody, ErrorCode, FrameDecoder, Port, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::request_timing::RequestTiming;
use crate::response_frame;
use crate::response_frame::ResponseMeta;
use crate::shop::Shop;
use crate::trace::connection_trace::ConnectionTrace;

/// Responses are written out when so many bytes of them wait, even if more requests do.
const FLUSH_BYTES: usize = 64 * 1024;
/// How much one read takes, bytes.
const READ_BYTES: usize = 16 * 1024;
/// After a last response, how long and how much is read and thrown away so that the response is not lost: closing a
/// socket with unread bytes in it makes TCP reset the connection, and a reset discards what the peer has not read yet.
const LINGER: Duration = Duration::from_secs(5);
/// See [`LINGER`], bytes.
const LINGER_BYTES: usize = 16 * 1024 * 1024;

/// When the server stops, how long an idle connection is still listened to: a request that was sent before the
/// shutdown may be on its way from the kernel.
const LAST_LOOK: Duration = Duration::from_millis(20);

/// Who is at the other end, and of which port.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) address: SocketAddr,
    /// The port it connected to.
    pub(crate) port: Port,
}

/// A connection being served.
pub(crate) struct Connection<'a> {
    stream: TcpStream,
    peer: Peer,
    shop: &'a Shop,
    shutdown: &'a CancellationToken,
    decoder: FrameDecoder,
    /// What was read last.
    chunk: Vec<u8>,
    /// Responses that were not written yet.
    output: Vec<u8>,
    /// When the last read returned.
    arrived: Instant,
    /// When the first byte of the frame that is in flight arrived.
    frame_began: Instant,
    /// Requests answered.
    requests: u64,
    /// Tells the trace what became of the responses.
    follower: ConnectionTrace<'a>,
}

/// A request that was looked at.
struct ProcessedRequest {
    /// The command, or "none".
    operation: &'static str,
    /// The result's JSON, or why there is none.
    result: Result<Vec<u8>, ErrorBody>,
    /// Where its time went.
    timing: RequestTiming,
}

impl ProcessedRequest {
    /// Refused without having been carried out.
    fn refused(error: ErrorBody) -> Self {
        Self { operation: "none", result: Err(error), timing: RequestTiming::default() }
    }
}

/// Why a connection ends.
enum CloseReason {
    /// The client closed it.
    Closed,
    /// Nothing moved for too long.
    Idle,
    /// The server stops.
    Stopping,
    /// The server stops, and has just answered.
    StoppingAnswered,
    /// The client is told a last thing.
    Refused(ErrorBody),
}

/// What waiting for more bytes came to.
enum ReadEvent {
    Bytes,
    End,
    Late,
    Stopping,
}

impl<'a> Connection<'a> {
    /// A connection that was just accepted.
    pub(crate) fn new(stream: TcpStream, peer: Peer, shop: &'a Shop, shutdown: &'a CancellationToken) -> Self {
        let now = Instant::now();
        Self {
            stream,
            peer,
            shop,
            shutdown,
            decoder: FrameDecoder::default(),
            chunk: Vec::with_capacity(READ_BYTES),
            output: Vec::new(),
            arrived: now,
            frame_began: now,
            requests: 0,
            follower: ConnectionTrace::new(shop.trace.as_ref()),
        }
    }

    /// Answers requests until the connection ends.
    pub(crate) async fn serve(mut self) {
        tracing::info!(peer = %self.peer.address, port = self.peer.port.name(), "connection opened");
        let ended = self.converse().await;
        let reason = match &ended {
            Ok(CloseReason::Closed) => "closed by the client".to_owned(),
            Ok(CloseReason::Idle) => "idle for too long".to_owned(),
            Ok(CloseReason::Stopping | CloseReason::StoppingAnswered) => "the server stops".to_owned(),
            Ok(CloseReason::Refused(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::info!(
            peer = %self.peer.address, port = self.peer.port.name(), requests = self.requests, reason,
            "connection closed"
        );
        match ended {
            Ok(CloseReason::Refused(error)) => self.reject(error).await,
            Ok(CloseReason::StoppingAnswered) => self.linger().await,
            _ => {}
        }
    }

    /// Tells the client why it is not served any more, and makes sure that this arrives.
    pub(crate) async fn reject(mut self, error: ErrorBody) {
        self.append(ProcessedRequest::refused(error));
        if self.flush().await.is_ok() {
            self.linger().await;
        }
    }

    async fn converse(&mut self) -> io::Result<CloseReason> {
        loop {
            // Looked at before reading: what came in before the shutdown is still answered.
            let stopping = self.shutdown.is_cancelled();
            match self.read_more().await? {
                ReadEvent::Bytes => {}
                ReadEvent::End => return Ok(CloseReason::Closed),
                ReadEvent::Late => return Ok(self.late()),
                ReadEvent::Stopping => return Ok(self.stop_mid_frame().unwrap_or(CloseReason::Stopping)),
            }
            let answered = self.requests;
            if let Some(last_word) = self.answer_waiting().await? {
                return Ok(CloseReason::Refused(last_word));
            }
            self.flush().await?;
            if stopping {
                let quiet =
                    if self.requests > answered { CloseReason::StoppingAnswered } else { CloseReason::Stopping };
                return Ok(self.stop_mid_frame().unwrap_or(quiet));
            }
        }
    }

    fn late(&self) -> CloseReason {
        if !self.decoder.is_mid_frame() {
            return CloseReason::Idle;
        }
        let limit = self.shop.connections.request_timeout;
        let message = format!("the request was not complete {limit} after its first byte");
        CloseReason::Refused(ErrorBody::new(ErrorCode::RequestTimeout, message))
    }

    /// The end of a connection that is in the middle of sending a request when the server stops.
    fn stop_mid_frame(&self) -> Option<CloseReason> {
        let error =
            || ErrorBody::new(ErrorCode::ShuttingDown, "the server is stopping; the request was not carried out");
        self.decoder.is_mid_frame().then(|| CloseReason::Refused(error()))
    }

    /// Waits for bytes, for the limit that applies, or for the shutdown; bytes that are there already come first.
    async fn read_more(&mut self) -> io::Result<ReadEvent> {
        let mid_frame = self.decoder.is_mid_frame();
        let limits = &self.shop.connections;
        let deadline = if mid_frame {
            self.frame_began + limits.request_timeout.as_duration()
        } else {
            Instant::now() + limits.idle_timeout.as_duration()
        };
        self.chunk.clear();
        let read = tokio::select! {
            biased;
            read = timeout_at(deadline, self.stream.read_buf(&mut self.chunk)) => read.map_err(|_| ReadEvent::Late),
            () = self.shutdown.cancelled() => {
                timeout(LAST_LOOK, self.stream.read_buf(&mut self.chunk)).await.map_err(|_| ReadEvent::Stopping)
            }
        };
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(nothing) => return Ok(nothing),
        };
        if bytes? == 0 {
            return Ok(ReadEvent::End);
        }
        self.arrived = Instant::now();
        self.follower.flush(&self.stream);
        if !mid_frame {
            self.frame_began = self.arrived;
        }
        self.decoder.feed(&self.chunk);
        Ok(ReadEvent::Bytes)
    }

    /// Answers all whole frames that are in memory. Gives the last word to a client whose stream can't be read on.
    async fn answer_waiting(&mut self) -> io::Result<Option<ErrorBody>> {
        loop {
            let request = match self.decoder.next_frame() {
                Ok(None) => return Ok(None),
                Ok(Some(payload)) => Request::decode(payload, self.peer.port),
                Err(error) => return Ok(Some(ErrorBody::new(ErrorCode::FrameTooLarge, error.to_string()))),
            };
            // Whatever follows in the buffer came with the last read.
            self.frame_began = self.arrived;
            let processed = match request {
                Ok(request) => self.carry_out(request).await,
                Err(error) => ProcessedRequest::refused(error),
            };
            self.append(processed);
            self.requests += 1;
            if self.output.len() >= FLUSH_BYTES {
                self.flush().await?;
            }
        }
    }

    async fn carry_out(&self, request: Request) -> ProcessedRequest {
        let operation = request.command();
        let (answer, timing) = self.shop.execute(request).await;
        ProcessedRequest { operation, result: answer.map_err(|failure| failure.into_error_body(operation)), timing }
    }

    fn append(&mut self, ProcessedRequest { operation, result, timing }: ProcessedRequest) {
        let exchange_id = self.shop.next_exchange_id();
        let arrived = self.arrived.into_std();
        let sent = response_frame::append(&mut self.output, result, ResponseMeta { arrived, timing, exchange_id });
        self.follower.answered(exchange_id);
        tracing::debug!(
            target: "server::operation",
            operation,
            outcome = sent.error.map_or("ok", ErrorCode::name),
            server_us = sent.handling.server_us,
            queue_us = sent.handling.queue_us,
            database_us = sent.handling.database_us,
            exchange_id,
            peer = %self.peer.address,
            port = self.peer.port.name(),
            "operation"
        );
    }

    /// Writes out what waits. Slow clients are waited for as long as they take something within the idle timeout.
    async fn flush(&mut self) -> io::Result<()> {
        let limit = self.shop.connections.idle_timeout;
        let mut written = 0;
        while written < self.output.len() {
            let write = timeout(limit.as_duration(), self.stream.write(&self.output[written..])).await;
            let stalled = |_| io::Error::new(io::ErrorKind::TimedOut, "the client does not read its responses");
            match write.map_err(stalled)?? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                bytes => written += bytes,
            }
        }
        self.output.clear();
        self.output.shrink_to(FLUSH_BYTES);
        Ok(())
    }

    /// Waits, within bounds, until the client has taken the last response and closed its side. See [`LINGER`].
    async fn linger(mut self) {
        let drain = async {
            self.stream.shutdown().await?;
            let mut drained = 0;
            while drained < LINGER_BYTES {
                self.chunk.clear();
                match self.stream.read_buf(&mut self.chunk).await? {
                    0 => break,
                    bytes => drained += bytes,
                }
            }
            io::Result::Ok(())
        };
        // Whatever goes wrong here, nothing more can be done for this client.
        let _ = timeout(LINGER, drain).await;
    }
}

/// However a connection ends, its socket is still open here.
impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.follower.flush(&self.stream);
    }
}
