//! Closing a connection after its last response.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Time for which incoming bytes are discarded.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of discarded bytes.
const MAX_DISCARDED_BYTES: usize = 16 * 1024 * 1024;
const BUFFER_BYTES: usize = 16 * 1024;

/// Closes the sending side and discards incoming bytes until the client closes its side, within bounds.
///
/// Closing a socket with unread bytes makes TCP reset the connection, and the client loses responses it has not read.
pub(super) async fn close_after_response(stream: &mut TcpStream) {
    let discard = async {
        stream.shutdown().await?;
        let mut buffer = Vec::with_capacity(BUFFER_BYTES);
        let mut discarded = 0;
        while discarded < MAX_DISCARDED_BYTES {
            buffer.clear();
            match stream.read_buf(&mut buffer).await? {
                0 => break,
                bytes => discarded += bytes,
            }
        }
        io::Result::Ok(())
    };
    // After a timeout or an error nothing more can be done for this client.
    let _ = timeout(DISCARD_TIMEOUT, discard).await;
}
