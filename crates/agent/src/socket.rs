//! How the sockets between agents and hub are set: no waiting for more bytes, and vanished machines are noticed.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// How long the other machine may be silent before it counts as gone.
pub(crate) const SILENCE_LIMIT: Duration = Duration::from_secs(15);

/// How often the hub shows agents that it is there; some may be late.
pub(crate) const SIGN_OF_LIFE: Duration = Duration::from_secs(3);

/// For both ends: an idle connection to a vanished machine breaks after 5 + 3 · 3 s.
pub(crate) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let probes = TcpKeepalive::new().with_time(Duration::from_secs(5)).with_interval(Duration::from_secs(3));
    SockRef::from(stream).set_tcp_keepalive(&probes.with_retries(3))
}

/// For the hub's end: also a connection with unanswered data breaks, for which the kernel sends no keepalive probes.
///
/// Not for an agent's: there the limit would also end a connection whose other end only waits for a slow driver. Agents
/// listen for the hub's signs of life instead.
pub(crate) fn limit_unanswered(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_tcp_user_timeout(Some(SILENCE_LIMIT))
}
