//! Where shaped packets go back to the kernel, marked so that the rules let them take the unshaped link.
//!
//! The header is sent as it came, but for the checksum, which the kernel fills in. IPv4 only. Raw IP sockets know no
//! GSO packets, so these go by a packet socket, which needs the Ethernet address of the next hop; where that is not
//! known they are cut and take the raw socket, too.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd as _;
use std::time::Instant;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::neighbour_cache::{Mac, NeighbourCache};
use crate::policy_routing::MARK;
use crate::tun_packet;
use crate::tun_packet::TunPacket;

/// The two sockets, for whole IPv4 packets and for GSO packets.
#[derive(Debug)]
pub(crate) struct Egress {
    socket: Socket,
    /// None where the kernel has no packet sockets, or a container may not open them: all GSO packets are cut there.
    bundles: Option<Socket>,
    /// Of the device.
    link: SockAddr,
    source: Mac,
    /// `None`: all GSO packets are cut.
    neighbours: Option<NeighbourCache>,
}

/// Room for packets that a device has not yet sent: a burst of a thousand full ones, with the kernel's overhead.
const SEND_BUFFER_BYTES: usize = 4 << 20;

const MIN_HEADER_BYTES: usize = 20;

/// Of an Ethernet header without a VLAN's tag.
const ETHERNET_HEADER_BYTES: usize = 14;

impl Egress {
    /// Opens the sockets; sends never block, and leave by `device` only. Otherwise, a packet whose mark another
    /// program's firewall rewrites, or for which the main table has lost its route, would come back to the shaper, for
    /// ever.
    pub(crate) fn open(device: &str, neighbours: Option<NeighbourCache>) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
        socket.bind_device(Some(device.as_bytes()))?;
        socket.set_broadcast(true)?;
        set_up(&socket)?;
        let bundles = packet_socket().ok();
        Ok(Self { socket, bundles, link: link(device)?, source: mac(device)?, neighbours })
    }

    /// Sends a packet, whole if possible. Returns how many of its packets the kernel refused.
    pub(crate) fn send(&mut self, packet: &[u8]) -> u64 {
        let Some(packet) = TunPacket::parse(packet) else { return 1 };
        if !packet.is_gso() {
            return u64::from(self.send_packet(packet.packet()).is_err());
        }
        match self.next_hop(&packet).zip(self.bundles.as_ref()) {
            Some((mac, socket)) if self.send_gso(socket, &packet, mac).is_ok() => 0,
            Some(_) => packet.packets().into(),
            None => self.send_cut(&packet),
        }
    }

    fn next_hop(&mut self, bundle: &TunPacket<'_>) -> Option<Mac> {
        self.neighbours.as_mut()?.find(destination(bundle.packet())?, Instant::now())
    }

    fn send_packet(&self, packet: &[u8]) -> io::Result<()> {
        let destination = destination(packet).ok_or(io::ErrorKind::InvalidData)?;
        let address = SockAddr::from(SocketAddrV4::new(destination, 0));
        self.socket.send_to(packet, &address).map(|_sent| ())
    }

    /// Tries all of its packets, also after an error. Returns how many were refused.
    fn send_cut(&self, bundle: &TunPacket<'_>) -> u64 {
        let refused = |bytes: &Vec<u8>| self.send_packet(&bytes[tun_packet::HEADER_BYTES..]).is_err();
        bundle.segments().filter(refused).count() as u64
    }

    fn send_gso(&self, socket: &Socket, bundle: &TunPacket<'_>, to: Mac) -> io::Result<()> {
        let header = bundle.header_behind(ETHERNET_HEADER_BYTES as u16);
        let mut ethernet = [0; ETHERNET_HEADER_BYTES];
        ethernet[..6].copy_from_slice(&to);
        ethernet[6..12].copy_from_slice(&self.source);
        ethernet[12..].copy_from_slice(&(libc::ETH_P_IP as u16).to_be_bytes());
        let slices = [&header[..], &ethernet, bundle.packet()].map(io::IoSlice::new);
        socket.send_to_vectored(&slices, &self.link).map(|_sent| ())
    }
}

fn set_up(socket: &Socket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_mark(MARK)?;
    if setsockopt(socket, sockopt::SndBufForce, &SEND_BUFFER_BYTES).is_err() {
        // In a user namespace only up to net.core.wmem_max: a slow device refuses packets sooner, and they are counted.
        socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    }
    Ok(())
}

fn packet_socket() -> io::Result<Socket> {
    // Protocol 0: it sends only, and gets no copies of what the device sends and receives.
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
    enable_gso(&socket)?;
    set_up(&socket)?;
    Ok(socket)
}

/// GSO packets come with the header that says so (packet(7), `PACKET_VNET_HDR`).
fn enable_gso(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    let size = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the descriptor is open, and the kernel only reads the integer, which outlives the call.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_VNET_HDR, (&raw const on).cast(), size)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Where a packet socket is to send IPv4 packets that leave by the device (packet(7)).
fn link(device: &str) -> io::Result<SockAddr> {
    let index = i32::try_from(if_nametoindex(device)?).map_err(io::Error::other)?;
    // SAFETY: all of a `sockaddr_ll` is integers and bytes, and it fits into the zeroed storage.
    let built = unsafe {
        SockAddr::try_init(|storage, length| {
            let link = storage.cast::<libc::sockaddr_ll>();
            (*link).sll_family = libc::AF_PACKET as libc::sa_family_t;
            (*link).sll_protocol = (libc::ETH_P_IP as u16).to_be();
            (*link).sll_ifindex = index;
            *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })
    };
    built.map(|((), address)| address)
}

/// The device's own Ethernet address; zeros for one that has none, by which no GSO packet will leave.
fn mac(device: &str) -> io::Result<Mac> {
    let mut addresses = getifaddrs()?.filter(|interface| interface.interface_name == device);
    let found = addresses.find_map(|interface| interface.address?.as_link_addr()?.addr());
    Ok(found.unwrap_or_default())
}

/// The destination address, bytes 16 to 19 of the IPv4 header (RFC 791, section 3.1).
fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let bytes: [u8; 4] = packet.get(16..MIN_HEADER_BYTES)?.try_into().ok()?;
    Some(bytes.into())
}
