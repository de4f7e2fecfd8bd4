//! The ICMP socket: a raw one where permitted, else the kernel's ping socket.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::sys::socket::sockopt::ReceiveTimestampns;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, Socket, Type};

use super::clock::Arrival;
use super::{ProbeError, echo};

/// Room for replies that wait to be read; the system may grant less.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
/// The largest header of IPv4 and that of ICMP echo. What does not fit into the buffer is cut off: only headers count.
const HEADER_BYTES: usize = 60 + 8;

/// An ICMP socket that sends to one server and hears only from it.
#[derive(Debug)]
pub(super) struct EchoSocket {
    socket: Socket,
    /// Whether packets arrive with their IP header, as raw sockets deliver them.
    form: Form,
    /// Ours among all echo requests of this host; a ping socket has the kernel choose and check it.
    identifier: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Raw,
    Datagram,
}

impl EchoSocket {
    /// Opens the better kind of socket that is permitted.
    pub(super) fn open(server: Ipv4Addr) -> Result<Self, ProbeError> {
        let (socket, form) = match Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)) {
            Ok(socket) => (socket, Form::Raw),
            Err(raw) => {
                let datagram = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::ICMPV4));
                (datagram.map_err(|datagram| ProbeError::Socket { raw, datagram })?, Form::Datagram)
            }
        };
        Self::set_up(&socket, server).map_err(|error| ProbeError::Send { server, error })?;
        let identifier = getrandom::u32().map_or(std::process::id(), |bits| bits) as u16;
        Ok(Self { socket, form, identifier })
    }

    fn set_up(socket: &Socket, server: Ipv4Addr) -> io::Result<()> {
        // Without either, the probe is only a little less exact.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
        let _ = setsockopt(socket, ReceiveTimestampns, &true);
        socket.connect(&SocketAddrV4::new(server, 0).into())
    }

    /// An echo request of ours, ready to be sent.
    pub(super) fn request(&self, sequence: u16, payload_bytes: u16) -> Vec<u8> {
        echo::request(self.identifier, sequence, payload_bytes)
    }

    /// Sends an echo request. One that finds the buffers full is lost like one that the link loses.
    pub(super) fn send(&self, request: &[u8]) -> io::Result<()> {
        match self.socket.send(request) {
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
        let message = match self.form {
            Form::Raw => echo::ipv4_payload(packet)?,
            Form::Datagram => packet,
        };
        let (identifier, sequence) = echo::reply(message)?;
        (self.form == Form::Datagram || identifier == self.identifier).then_some(sequence)
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
