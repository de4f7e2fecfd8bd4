//! The probe: measures delay, loss and rate of the link without the shop.
//!
//! The server's kernel replies to ICMP echo, and kernel timestamps exclude this program's scheduling. Behind a
//! published port the host's kernel would reply: there the shop's process answers UDP echo ([`protocol::echo`]), and
//! TCP handshakes show whether a proxy terminates connections.
//!
//! Requests at intervals measure delay and loss. A burst measures the rate: its replies queue in the link. A dedicated
//! thread sends, because a runtime's timers are a millisecond late.
//!
//! The server's kernel sends echo replies through one socket per CPU, whose buffer holds about 40 packets of 1400
//! bytes. On a low-rate link it drops further replies of a burst.

mod clock;
mod handshake;
mod icmp;
pub mod report;
mod socket;
mod udp;

use std::io;
use std::net::Ipv4Addr;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use clock::Stamp;
pub use handshake::{HandshakeSettings, handshakes};
pub use report::ProbeReport;
use report::Reply;
use socket::EchoSocket;

/// Maximum burst that a server's kernel answers completely, packets.
pub const MAX_IN_BURST: u16 = 40;
/// Interval at which the receiver checks for the end.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Settings of a probe by echo requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeSettings {
    /// Destination.
    pub server: Ipv4Addr,
    /// Protocol of the echo.
    pub protocol: ProbeProtocol,
    /// Number of echo requests.
    pub count: u16,
    /// Times at which the requests are sent.
    pub pattern: SendPattern,
    /// Payload of each request, bytes, without the headers of ICMP or UDP (8) and IP (20).
    pub payload_bytes: u16,
    /// Time without sending or receiving after which the probe ends.
    pub timeout: Duration,
}

/// Protocol of the echo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeProtocol {
    /// ICMP, answered by the kernel that owns the address.
    Icmp,
    /// UDP, answered by the shop's server.
    Udp {
        /// Port of the server's echo.
        port: u16,
    },
}

/// Times at which echo requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendPattern {
    /// One per interval.
    Every(Duration),
    /// Back to back.
    Burst,
}

/// Reason for a probe without a result.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No kind of ICMP socket could be opened.
    #[error(
        "cannot open an ICMP socket: raw: {raw}; datagram: {datagram}; run it as root or with CAP_NET_RAW, or include \
         your group in the sysctl net.ipv4.ping_group_range"
    )]
    Socket {
        /// Error of the raw socket.
        raw: io::Error,
        /// Error of the datagram socket.
        datagram: io::Error,
    },
    /// Sending failed.
    #[error("cannot send echo requests to {server}: {error}")]
    Send {
        /// Destination.
        server: Ipv4Addr,
        /// Cause.
        error: io::Error,
    },
    /// Receiving failed.
    #[error("cannot receive echo replies: {0}")]
    Receive(io::Error),
}

/// Sends echo requests and waits for their replies.
///
/// # Errors
/// The socket cannot be opened or used. Missing replies are not an error.
pub fn run(settings: &ProbeSettings) -> Result<ProbeReport, ProbeError> {
    let socket = EchoSocket::open(settings.server, settings.protocol)?;
    let sent: Vec<OnceLock<Stamp>> = (0..settings.count).map(|_| OnceLock::new()).collect();
    let finished = OnceLock::new();
    let (send_result, replies) = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let result = send_all(&socket, settings, &sent);
            let _ = finished.set(Instant::now());
            result
        });
        let replies = receive_all(&socket, settings, &sent, &finished);
        (sender.join(), replies)
    });
    send_result
        .unwrap_or_else(|_| Err(io::Error::other("the sending thread panicked")))
        .map_err(|error| ProbeError::Send { server: settings.server, error })?;
    let sent_count = sent.iter().filter(|stamp| stamp.get().is_some()).count();
    Ok(report::summarise(settings, sent_count, &replies.map_err(ProbeError::Receive)?))
}

fn send_all(socket: &EchoSocket, settings: &ProbeSettings, sent: &[OnceLock<Stamp>]) -> io::Result<()> {
    // Created in advance: creating them during a burst would spread it.
    let requests: Vec<Vec<u8>> =
        (0..settings.count).map(|sequence| socket.request(sequence, settings.payload_bytes)).collect();
    let start = Instant::now();
    for ((sequence, request), slot) in (0..).zip(&requests).zip(sent) {
        if let SendPattern::Every(interval) = settings.pattern {
            thread::sleep((start + interval * sequence).saturating_duration_since(Instant::now()));
        }
        // Before sending: the reply may arrive before the call returns.
        let _ = slot.set(Stamp::now());
        socket.send(request)?;
    }
    Ok(())
}

fn receive_all(
    socket: &EchoSocket,
    settings: &ProbeSettings,
    sent: &[OnceLock<Stamp>],
    finished: &OnceLock<Instant>,
) -> io::Result<Vec<Reply>> {
    let first = || sent.first().and_then(OnceLock::get);
    let mut replies: Vec<Reply> = Vec::with_capacity(sent.len());
    let mut answered = vec![false; sent.len()];
    let mut last_arrival = Instant::now();
    while answered.contains(&false) && !has_timed_out(finished.get(), last_arrival, settings.timeout) {
        let Some((sequence, arrival)) = socket.receive(POLL_INTERVAL)? else { continue };
        let stamps = sent.get(usize::from(sequence)).and_then(OnceLock::get).zip(first());
        let Some((stamp, first)) = stamps else { continue };
        last_arrival = Instant::now();
        answered[usize::from(sequence)] = true;
        let rtt = arrival.since(*stamp);
        replies.push(Reply { sequence, rtt, arrival: stamp.monotonic_since(*first) + rtt });
    }
    Ok(replies)
}

fn has_timed_out(finished: Option<&Instant>, last_arrival: Instant, timeout: Duration) -> bool {
    finished.is_some_and(|finished| last_arrival.max(*finished).elapsed() > timeout)
}
