//! The socket that echo goes through: for ICMP a raw one where permitted, else the kernel's ping socket; for UDP its
//! own.

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

/// Room for replies that wait to be read; the system may grant less.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
/// The largest header of IPv4 and that of echo. What does not fit into the buffer is cut off: only headers count.
const HEADER_BYTES: usize = 60 + udp::HEADER_BYTES;

/// A socket that sends to one server and hears only from it.
#[derive(Debug)]
pub(super) struct EchoSocket {
    socket: Socket,
    form: Form,
    /// Ours among all echo requests of this host; a ping socket has the kernel choose and check it.
    identifier: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// ICMP; packets arrive with their IP header.
    Raw,
    /// ICMP through a ping socket.
    Ping,
    /// UDP.
    Udp,
}

impl EchoSocket {
    /// Opens a socket for these means; for ICMP the better kind that is permitted.
    pub(super) fn open(server: Ipv4Addr, means: ProbeProtocol) -> Result<Self, ProbeError> {
        let (socket, form, port) = match means {
            ProbeProtocol::Icmp => {
                let (socket, form) = open_icmp()?;
                (socket, form, 0)
            }
            ProbeProtocol::Udp { port } => {
                let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP));
                (socket.map_err(|error| ProbeError::Send { server, error })?, Form::Udp, port)
            }
        };
        let server = SocketAddrV4::new(server, port);
        Self::set_up(&socket, server).map_err(|error| ProbeError::Send { server: *server.ip(), error })?;
        let identifier = getrandom::u32().map_or(std::process::id(), |bits| bits) as u16;
        Ok(Self { socket, form, identifier })
    }

    fn set_up(socket: &Socket, server: SocketAddrV4) -> io::Result<()> {
        // Without either, the probe is only a little less exact.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
        let _ = setsockopt(socket, ReceiveTimestampns, &true);
        socket.connect(&server.into())
    }

    /// An echo request of ours, ready to be sent.
    pub(super) fn request(&self, sequence: u16, payload_bytes: u16) -> Vec<u8> {
        match self.form {
            Form::Raw | Form::Ping => icmp::request(self.identifier, sequence, payload_bytes),
            Form::Udp => udp::request(self.identifier, sequence, payload_bytes),
        }
    }

    /// Sends an echo request. One that finds the buffers full is lost like one that the link loses.
    pub(super) fn send(&self, request: &[u8]) -> io::Result<()> {
        match self.socket.send(request) {
            // The port is closed: the error belongs to an earlier request, and this one is lost, too.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(error) if error.raw_os_error() != Some(libc::ENOBUFS) => Err(error),
            _ => Ok(()),
        }
    }

    /// The next reply to us and when it arrived; `None` when there is none within `limit`, or something else came.
    pub(super) fn receive(&self, limit: Duration) -> io::Result<Option<(u16, Arrival)>> {
        self.socket.set_read_timeout(Some(limit))?;
        let mut packet = [0; HEADER_BYTES];
        let mut parts = [IoSliceMut::new(&mut packet)];
        let mut control = nix::cmsg_space!(TimeSpec);
        let received = recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty());
        let message = match received {
            Ok(message) => message,
            Err(error) if is_passing(error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let program = Instant::now();
        let kernel = message.cmsgs()?.find_map(kernel_stamp);
        let length = message.bytes.min(HEADER_BYTES);
        Ok(self.sequence_of(&packet[..length]).map(|sequence| (sequence, Arrival { kernel, program })))
    }

    fn sequence_of(&self, packet: &[u8]) -> Option<u16> {
        let (identifier, sequence) = match self.form {
            Form::Raw => icmp::reply(icmp::ipv4_payload(packet)?)?,
            Form::Ping => icmp::reply(packet)?,
            Form::Udp => udp::reply(packet)?,
        };
        (self.form == Form::Ping || identifier == self.identifier).then_some(sequence)
    }
}

fn open_icmp() -> Result<(Socket, Form), ProbeError> {
    match Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)) {
        Ok(socket) => Ok((socket, Form::Raw)),
        Err(raw) => {
            let ping = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::ICMPV4));
            Ok((ping.map_err(|datagram| ProbeError::Socket { raw, datagram })?, Form::Ping))
        }
    }
}

/// Whether it is worth while to go on receiving: an unreachable server may come back.
fn is_passing(error: Errno) -> bool {
    matches!(
        error,
        Errno::EAGAIN | Errno::EINTR | Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::ECONNREFUSED | Errno::EPROTO
    )
}

fn kernel_stamp(message: ControlMessageOwned) -> Option<SystemTime> {
    let ControlMessageOwned::ScmTimestampns(stamp) = message else { return None };
    Some(SystemTime::UNIX_EPOCH + Duration::from(stamp))
}
