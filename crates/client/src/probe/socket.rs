//! Socket for echo requests: for ICMP a raw socket if permitted, otherwise the kernel's ping socket; for UDP a datagram
//! socket.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::sys::socket::sockopt::ReceiveTimestampns;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, Socket, Type};

use crate::probe::clock::Arrival;
use crate::probe::{ProbeError, ProbeProtocol, icmp, udp};

/// Requested receive buffer; the kernel may grant less.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
/// Maximum header of IPv4, and the header of the echo. The payload after it is truncated: only headers are read.
const HEADER_BYTES: usize = 60 + udp::HEADER_BYTES;

/// A socket connected to one server.
#[derive(Debug)]
pub(super) struct EchoSocket {
    socket: Socket,
    kind: SocketKind,
    /// Distinguishes this probe's requests from others of this host. The kernel chooses and checks that of a ping
    /// socket.
    identifier: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SocketKind {
    /// ICMP through a raw socket: packets include their IP header.
    Raw,
    /// ICMP through a ping socket.
    Ping,
    Udp,
}

impl EchoSocket {
    /// Opens a socket for this protocol; for ICMP a raw one if permitted.
    pub(super) fn open(server: Ipv4Addr, protocol: ProbeProtocol) -> Result<Self, ProbeError> {
        let (socket, kind, port) = match protocol {
            ProbeProtocol::Icmp => {
                let (socket, kind) = open_icmp()?;
                (socket, kind, 0)
            }
            ProbeProtocol::Udp { port } => {
                let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP));
                (socket.map_err(|error| ProbeError::Send { server, error })?, SocketKind::Udp, port)
            }
        };
        let server = SocketAddrV4::new(server, port);
        Self::set_up(&socket, server).map_err(|error| ProbeError::Send { server: *server.ip(), error })?;
        let identifier = getrandom::u32().map_or(std::process::id(), |bits| bits) as u16;
        Ok(Self { socket, kind, identifier })
    }

    fn set_up(socket: &Socket, server: SocketAddrV4) -> io::Result<()> {
        // Errors are ignored: without either option the probe is only slightly less accurate.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
        let _ = setsockopt(socket, ReceiveTimestampns, &true);
        socket.connect(&server.into())
    }

    /// Returns an encoded echo request.
    pub(super) fn request(&self, sequence: u16, payload_bytes: u16) -> Vec<u8> {
        match self.kind {
            SocketKind::Raw | SocketKind::Ping => icmp::request(self.identifier, sequence, payload_bytes),
            SocketKind::Udp => udp::request(self.identifier, sequence, payload_bytes),
        }
    }

    /// Sends an echo request. At a full send buffer it is dropped, and counts as lost.
    pub(super) fn send(&self, request: &[u8]) -> io::Result<()> {
        match self.socket.send(request) {
            // A closed port: the error belongs to an earlier request, and this one is lost as well.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(error) if error.raw_os_error() != Some(libc::ENOBUFS) => Err(error),
            _ => Ok(()),
        }
    }

    /// Returns the sequence number and arrival of the next reply; `None` after `timeout`, or if another packet arrived.
    pub(super) fn receive(&self, timeout: Duration) -> io::Result<Option<(u16, Arrival)>> {
        self.socket.set_read_timeout(Some(timeout))?;
        let mut packet = [0; HEADER_BYTES];
        let mut buffers = [IoSliceMut::new(&mut packet)];
        let mut control = nix::cmsg_space!(TimeSpec);
        let received = recvmsg::<()>(self.socket.as_raw_fd(), &mut buffers, Some(&mut control), MsgFlags::empty());
        let message = match received {
            Ok(message) => message,
            Err(error) if is_transient(error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let program = Instant::now();
        let kernel = message.cmsgs()?.find_map(kernel_timestamp);
        let length = message.bytes.min(HEADER_BYTES);
        Ok(self.sequence_of(&packet[..length]).map(|sequence| (sequence, Arrival { kernel, program })))
    }

    fn sequence_of(&self, packet: &[u8]) -> Option<u16> {
        let (identifier, sequence) = match self.kind {
            SocketKind::Raw => icmp::reply(icmp::ipv4_payload(packet)?)?,
            SocketKind::Ping => icmp::reply(packet)?,
            SocketKind::Udp => udp::reply(packet)?,
        };
        (self.kind == SocketKind::Ping || identifier == self.identifier).then_some(sequence)
    }
}

fn open_icmp() -> Result<(Socket, SocketKind), ProbeError> {
    match Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)) {
        Ok(socket) => Ok((socket, SocketKind::Raw)),
        Err(raw) => {
            let ping = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::ICMPV4));
            Ok((ping.map_err(|datagram| ProbeError::Socket { raw, datagram })?, SocketKind::Ping))
        }
    }
}

/// Returns whether a later reply is possible: an unreachable server may become reachable.
fn is_transient(error: Errno) -> bool {
    matches!(
        error,
        Errno::EAGAIN | Errno::EINTR | Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::ECONNREFUSED | Errno::EPROTO
    )
}

fn kernel_timestamp(message: ControlMessageOwned) -> Option<SystemTime> {
    let ControlMessageOwned::ScmTimestampns(timestamp) = message else { return None };
    Some(SystemTime::UNIX_EPOCH + Duration::from(timestamp))
}
