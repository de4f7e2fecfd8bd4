//! The probe: round trips through the link by ICMP echo, answered by the server's kernel, so that neither the shop nor
//! this program's scheduling is in the numbers. Behind a published port, where the host's kernel would answer instead,
//! by UDP echo ([`protocol::echo`]); and by TCP handshakes, which tell whether something else ends the connections.
//!
//! Two ways: paced, for delay and loss, and a burst, whose replies queue up in the link so that their spacing shows its
//! rate. Requests are sent from a thread of their own, since a runtime's timers are a millisecond late.
//!
//! The server's kernel sends its echo replies through one socket per processor, whose buffer holds about forty packets
//! of 1400 bytes: of a longer burst it answers only the start, when the link behind it is slow.

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

/// The longest burst that a server's kernel answers completely, packets.
pub const MAX_IN_BURST: u16 = 40;
/// How often the receiver looks whether it is over.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeSettings {
    /// Who answers.
    pub server: Ipv4Addr,
    /// By which protocol.
    pub means: ProbeProtocol,
    /// Echo requests.
    pub count: u16,
    /// When they are sent.
    pub pace: SendPattern,
    /// Payload of each, bytes, without the headers of ICMP or UDP (8) and IP (20).
    pub payload_bytes: u16,
    /// How long to go on when nothing was sent and nothing arrived.
    pub patience: Duration,
}

/// How the echo travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeProtocol {
    /// ICMP, answered by the kernel that has the address.
    Icmp,
    /// UDP, answered by the shop's server on this port.
    Udp {
        /// Its port.
        port: u16,
    },
}

/// When echo requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendPattern {
    /// One each so often.
    Every(Duration),
    /// All at once.
    Burst,
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Neither kind of socket was permitted.
    #[error(
        "cannot open an ICMP socket: raw: {raw}; datagram: {datagram}; run it as root or with CAP_NET_RAW, or put your \
         group into the sysctl net.ipv4.ping_group_range"
    )]
    Socket {
        /// What a raw socket failed with.
        raw: io::Error,
        /// What a datagram socket failed with.
        datagram: io::Error,
    },
    /// The system refused to send.
    #[error("cannot send echo requests to {server}: {error}")]
    Send {
        /// To whom.
        server: Ipv4Addr,
        /// Why.
        error: io::Error,
    },
    /// The system refused to receive.
    #[error("cannot receive echo replies: {0}")]
    Receive(io::Error),
}

/// Sends echo requests and waits for their replies.
///
/// # Errors
/// When the socket can't be opened or used. Replies that never come are no error.
pub fn run(settings: &ProbeSettings) -> Result<ProbeReport, ProbeError> {
    let socket = EchoSocket::open(settings.server, settings.means)?;
    let sent: Vec<OnceLock<Stamp>> = (0..settings.count).map(|_| OnceLock::new()).collect();
    let finished = OnceLock::new();
    let (sending, replies) = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let result = send_all(&socket, settings, &sent);
            let _ = finished.set(Instant::now());
            result
        });
        let replies = receive_all(&socket, settings, &sent, &finished);
        (sender.join(), replies)
    });
    sending
        .unwrap_or_else(|_| Err(io::Error::other("the sending thread panicked")))
        .map_err(|error| ProbeError::Send { server: settings.server, error })?;
    let sent_count = sent.iter().filter(|stamp| stamp.get().is_some()).count();
    Ok(report::summarise(settings, sent_count, &replies.map_err(ProbeError::Receive)?))
}

fn send_all(socket: &EchoSocket, settings: &ProbeSettings, sent: &[OnceLock<Stamp>]) -> io::Result<()> {
    // Made before the first is sent, so that a burst is one.
    let requests: Vec<Vec<u8>> =
        (0..settings.count).map(|sequence| socket.request(sequence, settings.payload_bytes)).collect();
    let start = Instant::now();
    for ((sequence, request), slot) in (0..).zip(&requests).zip(sent) {
        if let SendPattern::Every(interval) = settings.pace {
            thread::sleep((start + interval * sequence).saturating_duration_since(Instant::now()));
        }
        // Before sending: the reply may be here before the call is back.
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
    while answered.contains(&false) && !is_over(finished.get(), last_arrival, settings.patience) {
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

fn is_over(finished: Option<&Instant>, last_arrival: Instant, patience: Duration) -> bool {
    finished.is_some_and(|finished| last_arrival.max(*finished).elapsed() > patience)
}
