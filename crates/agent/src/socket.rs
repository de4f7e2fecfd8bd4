//! Socket options of both ends: no Nagle delay, and detection of a vanished peer.

use std::io;
use std::num::NonZeroU32;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Interval of the heartbeats that the hub sends to an idle agent. Hub and agents need the same value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heartbeat(Duration);

impl Heartbeat {
    /// Default interval, milliseconds.
    pub(crate) const DEFAULT_MS: NonZeroU32 = NonZeroU32::new(3_000).expect("3000 is above 0");

    /// Intervals without a heartbeat after which the peer counts as lost; fewer may only be late.
    const MAX_MISSED: u32 = 5;

    /// Returns a heartbeat every `interval_ms` milliseconds.
    pub(crate) fn every_ms(interval_ms: NonZeroU32) -> Self {
        Self(Duration::from_millis(u64::from(interval_ms.get())))
    }

    /// Returns the time between two heartbeats.
    pub(crate) fn interval(self) -> Duration {
        self.0
    }

    /// Returns the silence after which the peer counts as lost.
    pub(crate) fn timeout(self) -> Duration {
        self.0.saturating_mul(Self::MAX_MISSED)
    }
}

/// Sets the options of both ends. An idle connection to a vanished host fails after 5 + 3 · 3 s.
pub(crate) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let probes = TcpKeepalive::new().with_time(Duration::from_secs(5)).with_interval(Duration::from_secs(3));
    SockRef::from(stream).set_tcp_keepalive(&probes.with_retries(3))
}

/// Sets the option of the hub's end: a connection with unacknowledged data fails, too. The kernel sends no keepalive
/// probes on it.
///
/// Not for an agent's end: there it would also end a connection whose hub waits for a slow driver. Agents check the
/// hub's heartbeat instead.
pub(crate) fn limit_unacknowledged(stream: &TcpStream, heartbeat: Heartbeat) -> io::Result<()> {
    SockRef::from(stream).set_tcp_user_timeout(Some(heartbeat.timeout()))
}
