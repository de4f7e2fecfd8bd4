//! Hostile clients: they hold connections with half-sent requests, never read, send single bytes, and flood the port with
//! bytes of no meaning.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use protocol::encode_frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Connections of each kind that are held.
const HELD: usize = 200;
/// Interval of the bytes of slow senders.
const BYTE_INTERVAL: Duration = Duration::from_millis(100);
/// Interval of connections with bytes of no meaning: 200 a second.
const FLOOD_INTERVAL: Duration = Duration::from_millis(5);

/// Starts the attack on the shop at `address`. It ends at `end`.
pub(crate) fn start(address: SocketAddr, end: Instant) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let mut half = 60_000_u32.to_be_bytes().to_vec();
    half.resize(30_000, b' ');
    let unread = encode_frame(br#"{"command":"view_products"}"#).unwrap().repeat(100);
    for _ in 0..HELD {
        let (half, unread) = (half.clone(), unread.clone());
        tasks.spawn(hold(address, half, end));
        tasks.spawn(hold(address, unread, end));
        tasks.spawn(trickle(address, end));
    }
    tasks.spawn(flood(address, end));
    tasks
}

/// Sends bytes and holds the connection without reading.
async fn hold(address: SocketAddr, bytes: Vec<u8>, end: Instant) {
    let Ok(mut stream) = TcpStream::connect(address).await else { return };
    // The server may have closed the connection: that is its right.
    let _ = tokio::time::timeout_at(end.into(), stream.write_all(&bytes)).await;
    tokio::time::sleep_until(end.into()).await;
}

/// Sends one byte of a request at a time.
async fn trickle(address: SocketAddr, end: Instant) {
    let Ok(mut stream) = TcpStream::connect(address).await else { return };
    let mut bytes = 60_000_u32.to_be_bytes().into_iter().chain(std::iter::repeat(b' '));
    while Instant::now() < end
        && let Some(byte) = bytes.next()
        && stream.write_all(&[byte]).await.is_ok()
    {
        tokio::time::sleep(BYTE_INTERVAL).await;
    }
}

/// Opens connections, sends bytes of no meaning, and reads the response.
async fn flood(address: SocketAddr, end: Instant) {
    let mut ticks = tokio::time::interval(FLOOD_INTERVAL);
    while Instant::now() < end {
        ticks.tick().await;
        let Ok(mut stream) = TcpStream::connect(address).await else { continue };
        let _ = stream.write_all(&[0xff; 1000]).await;
        let _ = stream.read(&mut [0; 1000]).await;
        let _ = stream.set_zero_linger();
    }
}
