//! How the sockets between agents and hub are set: no waiting for more bytes, and vanished hosts are noticed.

use std::io;
use std::num::NonZeroU32;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Interval of the heartbeats that the hub sends to an idle agent. Hub and agents must be given the same.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heartbeat(Duration);

impl Heartbeat {
    /// The default interval, milliseconds.
    pub(crate) const DEFAULT_MS: NonZeroU32 = NonZeroU32::new(3_000).expect("3000 is above 0");

    /// Intervals without a heartbeat after which the other end counts as gone; some may be late.
    const MISSED: u32 = 5;

    /// A heartbeat every `interval_ms` milliseconds.
    pub(crate) fn every_ms(interval_ms: NonZeroU32) -> Self {
        Self(Duration::from_millis(u64::from(interval_ms.get())))
    }

    /// The time between two heartbeats.
    pub(crate) fn interval(self) -> Duration {
        self.0
    }

    /// How long the other end may be silent before it counts as gone.
    pub(crate) fn timeout(self) -> Duration {
        self.0.saturating_mul(Self::MISSED)
    }
}

/// For both ends: an idle connection to a vanished host breaks after 5 + 3 · 3 s.
pub(crate) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let probes = TcpKeepalive::new().with_time(Duration::from_secs(5)).with_interval(Duration::from_secs(3));
    SockRef::from(stream).set_tcp_keepalive(&probes.with_retries(3))
}

/// For the hub's end: also a connection with unanswered data breaks, for which the kernel sends no keepalive probes.
///
/// Not for an agent's: there the limit would also end a connection whose other end only waits for a slow driver. Agents
/// listen for the hub's signs of life instead.
pub(crate) fn limit_unanswered(stream: &TcpStream, heartbeat: Heartbeat) -> io::Result<()> {
    SockRef::from(stream).set_tcp_user_timeout(Some(heartbeat.timeout()))
}
