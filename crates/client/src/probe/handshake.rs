//! TCP handshakes, timed: they cross the link to the peer that terminates the connections. If that is a proxy before
//! the link, they are quicker than the link allows.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::probe::report;
use crate::probe::report::{ProbeReport, Reply};
use crate::probe::{ProbeError, ProbeProtocol, ProbeSettings, SendPattern};

/// Which handshakes to time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandshakeSettings {
    /// With whom.
    pub server: Ipv4Addr,
    /// TCP port.
    pub port: u16,
    /// How many, one after the other.
    pub count: u16,
    /// Pause before each but the first.
    pub pause: Duration,
    /// When one is given up, as lost.
    pub patience: Duration,
}

/// Connects and disconnects; the report's round-trip times are those of the handshakes.
///
/// # Errors
/// When the port is closed or the host cannot be reached. A handshake that is given up is no error.
pub fn handshakes(settings: &HandshakeSettings) -> Result<ProbeReport, ProbeError> {
    let address = SocketAddr::new(IpAddr::V4(settings.server), settings.port);
    let began = Instant::now();
    let mut replies = Vec::with_capacity(usize::from(settings.count));
    for sequence in 0..settings.count {
        if sequence > 0 {
            thread::sleep(settings.pause);
        }
        let sent = Instant::now();
        match TcpStream::connect_timeout(&address, settings.patience) {
            Ok(_) => replies.push(Reply { sequence, rtt: sent.elapsed(), arrival: began.elapsed() }),
            Err(error) if error.kind() == ErrorKind::TimedOut => {}
            Err(error) => return Err(ProbeError::Send { server: settings.server, error }),
        }
    }
    let as_echo = ProbeSettings {
        server: settings.server,
        means: ProbeProtocol::Icmp,
        count: settings.count,
        pace: SendPattern::Every(settings.pause),
        payload_bytes: 0,
        patience: settings.patience,
    };
    Ok(report::summarise(&as_echo, usize::from(settings.count), &replies))
}
