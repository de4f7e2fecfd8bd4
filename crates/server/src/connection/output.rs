//! Writing of responses.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::buffer_budget::BufferBudget;
use crate::connection::{BUFFER_BYTES, close_reason};

/// Writes `output`. Fails if the client accepts no bytes within `limit`, or if unread responses of all connections together
/// exceed the budget.
pub(super) async fn write(stream: &TcpStream, output: &[u8], budget: &BufferBudget, limit: Duration) -> io::Result<()> {
    let mut rest = output;
    let mut share = None;
    while !rest.is_empty() {
        match stream.try_write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(bytes) => rest = &rest[bytes..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if share.is_none() && output.len() > BUFFER_BYTES {
                    share = Some(budget.try_acquire(output.len()).ok_or_else(close_reason::unread_responses)?);
                }
                timeout(limit, stream.writable()).await.map_err(|_| close_reason::stalled())??;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
