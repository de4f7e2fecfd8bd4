//! One connection: reads frames and writes responses in the same order, until one side closes it.
//!
//! Responses to all complete frames in memory are written together, so pipelined requests take few system calls. While a
//! connection waits for a request, it has no buffers.

mod close;
mod close_reason;
mod deadline;
mod operation_log;
mod output;
mod spare_buffers;
pub(crate) mod stream;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use protocol::request::Command;
use protocol::{ErrorBody, ErrorCode, FrameDecoder, Port, Request};
use tcp_info::TcpInfo;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::buffer_budget::BudgetShare;
use crate::commands;
use crate::request_timing::RequestTiming;
use crate::response_frame::{ResponseFrame, ResponseMeta};
use crate::shop::Shop;
use crate::trace::connection_trace::ConnectionTrace;
use close::close_after_response;
use close_reason::CloseReason;
use deadline::Deadline;
use stream::Stream;

/// Size of waiting responses above which they are written although more requests wait.
const FLUSH_BYTES: usize = 64 * 1024;
/// Bytes read at once, and size of the responses for which memory is reserved at once.
pub(crate) const BUFFER_BYTES: usize = 8 * 1024;
/// Time without bytes after which a connection ends during a shutdown: the kernel may not yet have delivered requests
/// that were sent before.
const SHUTDOWN_QUIET_TIME: Duration = Duration::from_millis(20);

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
    stream: Stream,
    peer: Peer,
    shop: &'a Shop,
    /// Becomes ready at the shutdown.
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Whether the server stops.
    stopping: bool,
    deadline: Deadline,
    decoder: FrameDecoder,
    /// Memory of an incomplete large request, from the shared budget.
    request_share: Option<BudgetShare>,
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

/// Event that ends the wait for bytes.
enum ReadEvent {
    Bytes,
    End,
    Timeout,
    /// The server stops, and no more bytes arrive.
    Shutdown,
}

impl<'a> Connection<'a> {
    /// Returns a connection that was just accepted.
    pub(crate) fn new(stream: Stream, peer: Peer, shop: &'a Shop, shutdown: &CancellationToken) -> Self {
        let now = Instant::now();
        let limits = &shop.connections;
        let first_request_timeout = limits.first_request_timeout.min(limits.idle_timeout).as_duration();
        shop.metrics.connection_opened(peer.port);
        Self {
            stream,
            peer,
            shop,
            // A child, because all connections would share the lock of the token itself.
            shutdown: Box::pin(shutdown.child_token().cancelled_owned()),
            stopping: false,
            deadline: Deadline::new(now + first_request_timeout),
            decoder: FrameDecoder::new(peer.port.max_request_bytes()),
            request_share: None,
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
        let (peer, port, requests) = (self.peer.address, self.peer.port.name(), self.requests);
        match &ended {
            Ok(reason) => tracing::info!(%peer, port, requests, %reason, "connection closed"),
            Err(reason) => tracing::info!(%peer, port, requests, %reason, "connection closed"),
        }
        match ended {
            Ok(CloseReason::Rejected(error)) => self.reject(error).await,
            Ok(CloseReason::Shutdown) => self.close().await,
            _ => {}
        }
    }

    /// Sends an error and closes the connection so that the error arrives.
    pub(crate) async fn reject(mut self, error: ErrorBody) {
        self.respond(Err(error)).await;
        if self.flush().await.is_ok() {
            self.close().await;
        }
    }

    async fn close(&mut self) {
        if !close_after_response(&mut self.stream, self.shutdown.as_mut()).await {
            tracing::debug!(peer = %self.peer.address, "the client did not close its side, and may miss a response");
        }
    }

    async fn serve_requests(&mut self) -> io::Result<CloseReason> {
        loop {
            if let Some(error) = self.reserve_memory().await {
                return Ok(CloseReason::Rejected(error));
            }
            match self.read_more().await? {
                ReadEvent::Bytes => {}
                ReadEvent::End => return Ok(CloseReason::Client),
                ReadEvent::Timeout if self.decoder.is_mid_frame() => {
                    let limit = self.shop.connections.request_timeout;
                    return Ok(CloseReason::Rejected(close_reason::request_timeout(limit)));
                }
                ReadEvent::Timeout => return Ok(CloseReason::Idle),
                ReadEvent::Shutdown if self.decoder.is_mid_frame() => {
                    return Ok(CloseReason::Rejected(close_reason::incomplete_at_shutdown()));
                }
                ReadEvent::Shutdown => return Ok(CloseReason::Shutdown),
            }
            if let Some(error) = self.process_frames().await? {
                return Ok(CloseReason::Rejected(error));
            }
            self.flush().await?;
        }
    }

    /// Waits for memory if the incomplete request is large. Returns the error for a client that must not wait longer.
    async fn reserve_memory(&mut self) -> Option<ErrorBody> {
        let bytes = self.decoder.incomplete_frame_bytes();
        if bytes <= BUFFER_BYTES || self.request_share.is_some() {
            return None;
        }
        let budget = &self.shop.buffers;
        let timeout_at = self.frame_start + self.request_timeout();
        tokio::select! {
            biased;
            share = budget.acquire(bytes) => self.request_share = share,
            () = self.shutdown.as_mut(), if !self.stopping => return Some(close_reason::incomplete_at_shutdown()),
            () = tokio::time::sleep_until(timeout_at) => {
                return Some(close_reason::no_memory());
            }
        }
        None
    }

    fn request_timeout(&self) -> Duration {
        self.shop.connections.request_timeout.as_duration()
    }

    /// Waits for bytes until the applicable timeout or the shutdown. Bytes already received take precedence.
    async fn read_more(&mut self) -> io::Result<ReadEvent> {
        let mid_frame = self.decoder.is_mid_frame();
        if self.stopping {
            self.deadline.set(Instant::now() + SHUTDOWN_QUIET_TIME);
        } else if mid_frame {
            self.deadline.set(self.frame_start + self.request_timeout());
        } else if self.requests > 0 {
            self.deadline.set(Instant::now() + self.shop.connections.idle_timeout.as_duration());
        }
        let event = poll_fn(|context| self.poll_read(context)).await?;
        if let ReadEvent::Bytes = event {
            self.last_read = Instant::now();
            self.trace.flush(&self.stream);
            if !mid_frame {
                self.frame_start = self.last_read;
            }
        }
        Ok(event)
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<ReadEvent>> {
        let size = self.decoder.incomplete_frame_bytes().max(BUFFER_BYTES);
        let buffer = self.decoder.buffer();
        spare_buffers::provide(buffer);
        buffer.reserve_exact(size - buffer.len());
        match pin!(self.stream.read_buf(buffer)).poll(context) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Ok(ReadEvent::End)),
            Poll::Ready(Ok(_)) => return Poll::Ready(Ok(ReadEvent::Bytes)),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => self.release_buffers(),
        }
        if !self.stopping && self.shutdown.as_mut().poll(context).is_ready() {
            self.stopping = true;
            self.deadline.set(Instant::now() + SHUTDOWN_QUIET_TIME);
        }
        let event = if self.stopping { ReadEvent::Shutdown } else { ReadEvent::Timeout };
        self.deadline.poll(context).map(|()| Ok(event))
    }

    /// Gives back the buffers that are empty: connections that wait take no memory.
    fn release_buffers(&mut self) {
        if self.decoder.buffer().is_empty() {
            spare_buffers::give_back(self.decoder.buffer());
        }
        spare_buffers::give_back(&mut self.output);
    }

    /// Processes all complete frames in memory. Returns the error for a stream that cannot be decoded further.
    async fn process_frames(&mut self) -> io::Result<Option<ErrorBody>> {
        loop {
            let request = match self.decoder.next_frame() {
                Ok(None) => return Ok(None),
                Ok(Some(payload)) => Request::decode(payload, self.peer.port),
                Err(error) => return Ok(Some(ErrorBody::new(ErrorCode::FrameTooLarge, error.to_string()))),
            };
            self.request_share = None;
            // The rest of the buffer arrived with the last read.
            self.frame_start = self.last_read;
            let waits = request.as_ref().is_ok_and(|request| !commands::is_answered_from_memory(request));
            if self.output.len() >= if waits { BUFFER_BYTES } else { FLUSH_BYTES } {
                self.flush().await?;
            }
            self.respond(request).await;
            self.requests += 1;
        }
    }

    /// Executes a request and appends its response to the output.
    async fn respond(&mut self, request: Result<Request, ErrorBody>) {
        let arrived = self.last_read.into_std();
        spare_buffers::provide(&mut self.output);
        self.output.reserve(BUFFER_BYTES);
        let frame = ResponseFrame::begin(&mut self.output);
        let mut timing = RequestTiming::default();
        let command = request.as_ref().ok().map(Command::from);
        let operation = command.map_or("none", Command::name);
        let outcome = match request {
            Ok(request) => {
                let (result, time) = self.shop.execute(request, self.peer, &mut self.output).await;
                timing = time;
                result.map_err(|error| error.into_error_body(operation))
            }
            Err(error) => Err(error),
        };
        let exchange_id = self.shop.next_exchange_id();
        let written = frame.finish(&mut self.output, outcome, ResponseMeta { arrived, timing, exchange_id });
        self.trace.responded(exchange_id);
        self.shop.metrics.responded(command, written.error, written.timing);
        operation_log::log(operation, written, self.peer, self.shop.connections.slow_operation_us());
    }

    /// Writes the waiting responses.
    async fn flush(&mut self) -> io::Result<()> {
        let limit = self.shop.connections.idle_timeout.as_duration();
        output::write(&mut self.stream, &self.output, &self.shop.buffers, limit).await?;
        self.output.clear();
        Ok(())
    }
}

/// Counts the end and flushes the trace in every case: the socket is still open here.
impl Drop for Connection<'_> {
    fn drop(&mut self) {
        let retransmits = self.shop.connections.counts_retransmits.then(|| TcpInfo::of(&self.stream).ok()).flatten();
        let retransmits = retransmits.and_then(|info| info.total_retransmits);
        self.shop.metrics.connection_closed(self.peer.port, retransmits);
        self.trace.flush(&self.stream);
    }
}
