//! One connection: reads frames and writes responses in the same order, until one side closes it.
//!
//! Responses to all complete frames in memory are written together, so pipelined requests take few system calls. Two
//! timeouts apply: a started request must become complete, and an idle connection is closed.

mod close;

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
use close::close_after_response;

/// Size of waiting responses above which they are written although more requests wait.
const FLUSH_BYTES: usize = 64 * 1024;
/// Size of the read buffer.
const READ_BYTES: usize = 16 * 1024;
/// Time for which an idle connection is read after a shutdown: the kernel may not yet have delivered a request that was sent
/// before.
const FINAL_READ_TIMEOUT: Duration = Duration::from_millis(20);

/// Client of a connection, and the port it uses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// Address of the client.
    pub(crate) address: SocketAddr,
    /// Port of the server.
    pub(crate) port: Port,
}

/// Connection being served.
pub(crate) struct Connection<'a> {
    stream: TcpStream,
    peer: Peer,
    shop: &'a Shop,
    shutdown: &'a CancellationToken,
    decoder: FrameDecoder,
    /// Bytes of the last read.
    chunk: Vec<u8>,
    /// Responses not yet written.
    output: Vec<u8>,
    /// End of the last read.
    last_read: Instant,
    /// Arrival of the first byte of the current frame.
    frame_start: Instant,
    /// Number of requests with a response.
    requests: u64,
    trace: ConnectionTrace<'a>,
}

/// Request that was executed or rejected.
struct ProcessedRequest {
    /// Name of the command, or "none".
    operation: &'static str,
    /// JSON of the result, or the error.
    result: Result<Vec<u8>, ErrorBody>,
    timing: RequestTiming,
}

impl ProcessedRequest {
    /// Returns a request that was rejected without execution.
    fn rejected(error: ErrorBody) -> Self {
        Self { operation: "none", result: Err(error), timing: RequestTiming::default() }
    }
}

/// Reason why a connection ends.
enum CloseReason {
    /// The client closed it.
    Client,
    /// No bytes arrived within the idle timeout.
    Idle,
    /// The server stops.
    Shutdown,
    /// The server stops, and has just sent a response.
    ShutdownAfterResponse,
    /// The server rejects the client with this error.
    Rejected(ErrorBody),
}

/// Event that ends the wait for bytes.
enum ReadEvent {
    Bytes,
    End,
    Timeout,
    Shutdown,
}

impl<'a> Connection<'a> {
    /// Returns a connection that was just accepted.
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
            last_read: now,
            frame_start: now,
            requests: 0,
            trace: ConnectionTrace::new(shop.trace.as_ref()),
        }
    }

    /// Serves requests until the connection ends.
    pub(crate) async fn serve(mut self) {
        tracing::info!(peer = %self.peer.address, port = self.peer.port.name(), "connection opened");
        let ended = self.serve_requests().await;
        let reason = match &ended {
            Ok(CloseReason::Client) => "closed by the client".to_owned(),
            Ok(CloseReason::Idle) => "idle timeout".to_owned(),
            Ok(CloseReason::Shutdown | CloseReason::ShutdownAfterResponse) => "server shutdown".to_owned(),
            Ok(CloseReason::Rejected(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::info!(
            peer = %self.peer.address, port = self.peer.port.name(), requests = self.requests, reason,
            "connection closed"
        );
        match ended {
            Ok(CloseReason::Rejected(error)) => self.reject(error).await,
            Ok(CloseReason::ShutdownAfterResponse) => close_after_response(&mut self.stream).await,
            _ => {}
        }
    }

    /// Sends an error and closes the connection so that the error arrives.
    pub(crate) async fn reject(mut self, error: ErrorBody) {
        self.append(ProcessedRequest::rejected(error));
        if self.flush().await.is_ok() {
            close_after_response(&mut self.stream).await;
        }
    }

    async fn serve_requests(&mut self) -> io::Result<CloseReason> {
        loop {
            // Checked before the read: requests that arrived before the shutdown still get a response.
            let stopping = self.shutdown.is_cancelled();
            match self.read_more().await? {
                ReadEvent::Bytes => {}
                ReadEvent::End => return Ok(CloseReason::Client),
                ReadEvent::Timeout => return Ok(self.timeout_reason()),
                ReadEvent::Shutdown => return Ok(self.shutdown_mid_frame().unwrap_or(CloseReason::Shutdown)),
            }
            let earlier_requests = self.requests;
            if let Some(error) = self.process_frames().await? {
                return Ok(CloseReason::Rejected(error));
            }
            self.flush().await?;
            if stopping {
                let responded = self.requests > earlier_requests;
                let reason = if responded { CloseReason::ShutdownAfterResponse } else { CloseReason::Shutdown };
                return Ok(self.shutdown_mid_frame().unwrap_or(reason));
            }
        }
    }

    fn timeout_reason(&self) -> CloseReason {
        if !self.decoder.is_mid_frame() {
            return CloseReason::Idle;
        }
        let limit = self.shop.connections.request_timeout;
        let message = format!("request incomplete {limit} after its first byte");
        CloseReason::Rejected(ErrorBody::new(ErrorCode::RequestTimeout, message))
    }

    /// Returns the rejection of an incomplete request at shutdown.
    fn shutdown_mid_frame(&self) -> Option<CloseReason> {
        let message = "the server is stopping; the incomplete request was not executed";
        let error = || ErrorBody::new(ErrorCode::ShuttingDown, message);
        self.decoder.is_mid_frame().then(|| CloseReason::Rejected(error()))
    }

    /// Waits for bytes until the applicable timeout or the shutdown. Bytes already received take precedence.
    async fn read_more(&mut self) -> io::Result<ReadEvent> {
        let mid_frame = self.decoder.is_mid_frame();
        let limits = &self.shop.connections;
        let deadline = if mid_frame {
            self.frame_start + limits.request_timeout.as_duration()
        } else {
            Instant::now() + limits.idle_timeout.as_duration()
        };
        self.chunk.clear();
        let read = tokio::select! {
            biased;
            read = timeout_at(deadline, self.stream.read_buf(&mut self.chunk)) => read.map_err(|_| ReadEvent::Timeout),
            () = self.shutdown.cancelled() => {
                timeout(FINAL_READ_TIMEOUT, self.stream.read_buf(&mut self.chunk)).await.map_err(|_| ReadEvent::Shutdown)
            }
        };
        let bytes = match read {
            Ok(bytes) => bytes?,
            Err(event) => return Ok(event),
        };
        if bytes == 0 {
            return Ok(ReadEvent::End);
        }
        self.last_read = Instant::now();
        self.trace.flush(&self.stream);
        if !mid_frame {
            self.frame_start = self.last_read;
        }
        self.decoder.feed(&self.chunk);
        Ok(ReadEvent::Bytes)
    }

    /// Processes all complete frames in memory. Returns the error for a stream that cannot be decoded further.
    async fn process_frames(&mut self) -> io::Result<Option<ErrorBody>> {
        loop {
            let request = match self.decoder.next_frame() {
                Ok(None) => return Ok(None),
                Ok(Some(payload)) => Request::decode(payload, self.peer.port),
                Err(error) => return Ok(Some(ErrorBody::new(ErrorCode::FrameTooLarge, error.to_string()))),
            };
            // The rest of the buffer arrived with the last read.
            self.frame_start = self.last_read;
            let processed = match request {
                Ok(request) => self.execute(request).await,
                Err(error) => ProcessedRequest::rejected(error),
            };
            self.append(processed);
            self.requests += 1;
            if self.output.len() >= FLUSH_BYTES {
                self.flush().await?;
            }
        }
    }

    async fn execute(&self, request: Request) -> ProcessedRequest {
        let operation = request.command();
        let (result, timing) = self.shop.execute(request).await;
        ProcessedRequest { operation, result: result.map_err(|error| error.into_error_body(operation)), timing }
    }

    fn append(&mut self, ProcessedRequest { operation, result, timing }: ProcessedRequest) {
        let exchange_id = self.shop.next_exchange_id();
        let arrived = self.last_read.into_std();
        let written = response_frame::append(&mut self.output, result, ResponseMeta { arrived, timing, exchange_id });
        self.trace.responded(exchange_id);
        tracing::debug!(
            target: "server::operation",
            operation,
            outcome = written.error.map_or("ok", ErrorCode::name),
            server_us = written.timing.server_us,
            queue_us = written.timing.queue_us,
            database_us = written.timing.database_us,
            exchange_id,
            peer = %self.peer.address,
            port = self.peer.port.name(),
            "operation"
        );
    }

    /// Writes the waiting responses. Fails if the client accepts no bytes within the idle timeout.
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
}

/// Flushes the trace in every case of the connection's end: the socket is still open here.
impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.trace.flush(&self.stream);
    }
}
