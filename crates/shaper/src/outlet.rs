//! Where shaped packets go back to the kernel, marked so that the rules let them take the bare link.
//!
//! The header is sent as it came, but for the checksum, which the kernel fills in. IPv4 only.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::detour::MARK;

/// A raw socket that sends whole IPv4 packets.
#[derive(Debug)]
pub(crate) struct Outlet {
    socket: Socket,
}

/// Room for packets that a device has not yet sent: a burst of a thousand full ones, with the kernel's overhead.
const SEND_BUFFER_BYTES: usize = 4 << 20;

const MIN_HEADER_BYTES: usize = 20;

impl Outlet {
    /// Opens the socket; sends never block, and leave by `device` only. Without that, a packet whose mark somebody's
    /// firewall rewrites, or for which the main table has lost its route, would come back to the shaper, for ever.
    pub(crate) fn open(device: &str) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
        socket.set_nonblocking(true)?;
        socket.set_mark(MARK)?;
        socket.bind_device(Some(device.as_bytes()))?;
        socket.set_broadcast(true)?;
        if setsockopt(&socket, sockopt::SndBufForce, &SEND_BUFFER_BYTES).is_err() {
            // In a user namespace only up to net.core.wmem_max: a slow device refuses packets sooner, and they are counted.
            socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
        }
        Ok(Self { socket })
    }

    /// Sends a packet that [`is_ipv4`].
    pub(crate) fn send(&self, packet: &[u8]) -> io::Result<()> {
        let destination = destination(packet).ok_or(io::ErrorKind::InvalidData)?;
        let address = SockAddr::from(SocketAddrV4::new(destination, 0));
        self.socket.send_to(packet, &address).map(|_sent| ())
    }
}

/// Whether the outlet can send this packet.
pub(crate) fn is_ipv4(packet: &[u8]) -> bool {
    packet.len() >= MIN_HEADER_BYTES && packet[0] >> 4 == 4
}

/// The destination address, bytes 16 to 19 of the IPv4 header (RFC 791, section 3.1).
fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let bytes: [u8; 4] = packet.get(16..MIN_HEADER_BYTES)?.try_into().ok()?;
    Some(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_ipv4_headers_are_accepted() {
        let mut packet = [0u8; 20];
        packet[0] = 0x45;
        packet[16..].copy_from_slice(&[10, 1, 2, 3]);
        assert!(is_ipv4(&packet));
        assert_eq!(destination(&packet), Some(Ipv4Addr::new(10, 1, 2, 3)));
        assert!(!is_ipv4(&packet[..19]));
        packet[0] = 0x60;
        assert!(!is_ipv4(&packet));
    }
}
