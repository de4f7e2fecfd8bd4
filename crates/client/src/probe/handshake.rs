//! Times TCP handshakes. A handshake that is faster than the link shows that a proxy before the link terminates the
//! connections.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::probe::report;
use crate::probe::report::{ProbeReport, Reply};
use crate::probe::{ProbeError, ProbeProtocol, ProbeSettings, SendPattern};

/// Settings of a probe by TCP handshakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandshakeSettings {
    /// Destination.
    pub server: Ipv4Addr,
    /// TCP port.
    pub port: u16,
    /// Number of sequential handshakes.
    pub count: u16,
    /// Pause between two handshakes.
    pub pause: Duration,
    /// Timeout of a handshake, which then counts as lost.
    pub timeout: Duration,
}

/// Connects and disconnects; the report contains the handshakes' durations as RTTs.
///
/// # Errors
/// The port is closed or the host is unreachable. A timeout is not an error.
pub fn handshakes(settings: &HandshakeSettings) -> Result<ProbeReport, ProbeError> {
    let address = SocketAddr::new(IpAddr::V4(settings.server), settings.port);
    let start = Instant::now();
    let mut replies = Vec::with_capacity(usize::from(settings.count));
    for sequence in 0..settings.count {
        if sequence > 0 {
            thread::sleep(settings.pause);
        }
        let sent = Instant::now();
        match TcpStream::connect_timeout(&address, settings.timeout) {
            Ok(_) => replies.push(Reply { sequence, rtt: sent.elapsed(), arrival: start.elapsed() }),
            Err(error) if error.kind() == ErrorKind::TimedOut => {}
            Err(error) => return Err(ProbeError::Send { server: settings.server, error }),
        }
    }
    let as_echo = ProbeSettings {
        server: settings.server,
        protocol: ProbeProtocol::Icmp,
        count: settings.count,
        pattern: SendPattern::Every(settings.pause),
        payload_bytes: 0,
        timeout: settings.timeout,
    };
    Ok(report::summarise(&as_echo, usize::from(settings.count), &replies))
}
