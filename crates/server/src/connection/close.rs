//! Closing a connection after its last response.

use std::future::Future;
use std::io;
use std::time::Duration;

use tcp_info::TcpInfo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::connection::stream::Stream;

/// Time for which incoming bytes are discarded.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of discarded bytes.
const MAX_DISCARDED_BYTES: usize = 16 * 1024 * 1024;
const BUFFER_BYTES: usize = 16 * 1024;

/// Interval at which a stopping server checks whether its last bytes have arrived.
const ARRIVAL_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Closes the sending side and discards incoming bytes until the client closes its side, within bounds. A stopping server
/// waits only until its last bytes have arrived. Returns whether one of the two happened in time.
///
/// Closing a socket with unread bytes makes TCP reset the connection, and the client loses responses that have not
/// arrived.
pub(super) async fn close_after_response(stream: &mut Stream, shutdown: impl Future<Output = ()>) -> bool {
    let closed = async {
        stream.shutdown().await?;
        tokio::select! {
            discarded = discard(stream) => return discarded,
            () = shutdown => {}
        }
        while !TcpInfo::of(stream)?.fin_acknowledged {
            if let Ok(discarded) = timeout(ARRIVAL_POLL_INTERVAL, discard(stream)).await {
                return discarded;
            }
        }
        io::Result::Ok(())
    };
    matches!(timeout(DISCARD_TIMEOUT, closed).await, Ok(Ok(())))
}

/// Discards incoming bytes until the client closes its side, or until there are too many.
async fn discard(stream: &mut Stream) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    let mut discarded = 0;
    while discarded < MAX_DISCARDED_BYTES {
        buffer.clear();
        match stream.read_buf(&mut buffer).await? {
            0 => break,
            bytes => discarded += bytes,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Ipv4Addr, TcpListener};

    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn at_a_shutdown_a_client_that_neither_reads_nor_closes_is_not_waited_for() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(b"half a request").unwrap();
        let (accepted, _) = listener.accept().unwrap();
        accepted.set_nonblocking(true).unwrap();
        let mut stream = Stream::Plain(TcpStream::from_std(accepted).unwrap());
        stream.write_all(b"response").await.unwrap();
        assert!(close_after_response(&mut stream, std::future::ready(())).await);
        drop(client);
    }
}
