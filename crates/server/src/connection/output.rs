//! Writing of responses.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::buffer_budget::BufferBudget;
use crate::connection::stream::Stream;
use crate::connection::{BUFFER_BYTES, close_reason};

/// Writes `output`. Fails if the client accepts no bytes within `limit`, or if unread responses of all connections together
/// exceed the budget.
pub(super) async fn write(
    stream: &mut Stream,
    output: &[u8],
    budget: &BufferBudget,
    limit: Duration,
) -> io::Result<()> {
    let mut rest = output;
    let mut share = None;
    while !rest.is_empty() {
        let written = poll_fn(|context| Poll::Ready(Pin::new(&mut *stream).poll_write(context, rest))).await;
        let bytes = match written {
            Poll::Ready(result) => result?,
            Poll::Pending => {
                if share.is_none() && output.len() > BUFFER_BYTES {
                    share = Some(budget.try_acquire(output.len()).ok_or_else(close_reason::unread_responses)?);
                }
                timeout(limit, stream.write(rest)).await.map_err(|_| close_reason::stalled())??
            }
        };
        if bytes == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        rest = &rest[bytes..];
    }
    match stream {
        // TCP has no buffer in this process.
        Stream::Plain(_) => Ok(()),
        Stream::Tls(stream) => timeout(limit, stream.flush()).await.map_err(|_| close_reason::stalled())?,
    }
}
