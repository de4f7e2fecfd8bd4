//! Sends shaped packets, marked so that the rules route them by the shaped device and not to the TUN device again.
//!
//! The IP header is sent unchanged, except for the checksum, which the kernel fills in. IPv4 only. Raw IP sockets
//! cannot send GSO packets: a packet socket does, which needs the Ethernet address of the next hop. If that is unknown,
//! the GSO packet is segmented and its wire packets are sent by the raw socket.

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

/// Sockets for wire packets and for GSO packets.
#[derive(Debug)]
pub(crate) struct Egress {
    raw_socket: Socket,
    /// `None` if the kernel does not support packet sockets or the container may not open them: GSO packets are
    /// segmented.
    gso_socket: Option<Socket>,
    /// Link-layer address structure of the device.
    device: SockAddr,
    source: Mac,
    /// `None`: GSO packets are segmented.
    neighbours: Option<NeighbourCache>,
}

/// Size for a burst of a thousand full packets that the device has not yet sent, with the kernel's overhead.
const SEND_BUFFER_BYTES: usize = 4 << 20;

const MIN_IP_HEADER_BYTES: usize = 20;

/// Length of an Ethernet header without a VLAN tag.
const ETHERNET_HEADER_BYTES: usize = 14;

impl Egress {
    /// Opens the sockets. Sends never block, and leave by `device` only: otherwise a packet would return to the shaper
    /// in an endless loop if a firewall rewrote its mark or the main table had lost its route.
    pub(crate) fn open(device: &str, neighbours: Option<NeighbourCache>) -> io::Result<Self> {
        let raw_socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
        raw_socket.bind_device(Some(device.as_bytes()))?;
        raw_socket.set_broadcast(true)?;
        configure(&raw_socket)?;
        let gso_socket = packet_socket().ok();
        Ok(Self { raw_socket, gso_socket, device: link_layer_address(device)?, source: mac(device)?, neighbours })
    }

    /// Sends a packet read from TUN, a GSO packet whole if possible. Returns the number of wire packets that could not
    /// be sent.
    pub(crate) fn send(&mut self, packet: &[u8]) -> u64 {
        let Some(packet) = TunPacket::parse(packet) else { return 1 };
        if !packet.is_gso() {
            return u64::from(self.send_wire_packet(packet.packet()).is_err());
        }
        match self.next_hop(&packet).zip(self.gso_socket.as_ref()) {
            Some((mac, socket)) if self.send_gso(socket, &packet, mac).is_ok() => 0,
            Some(_) => packet.wire_packets().into(),
            None => self.send_segments(&packet),
        }
    }

    fn next_hop(&mut self, packet: &TunPacket<'_>) -> Option<Mac> {
        self.neighbours.as_mut()?.find(destination(packet.packet())?, Instant::now())
    }

    fn send_wire_packet(&self, packet: &[u8]) -> io::Result<()> {
        let destination = destination(packet).ok_or(io::ErrorKind::InvalidData)?;
        let address = SockAddr::from(SocketAddrV4::new(destination, 0));
        self.raw_socket.send_to(packet, &address).map(|_sent| ())
    }

    /// Sends each segment, also after an error. Returns the number that could not be sent.
    fn send_segments(&self, packet: &TunPacket<'_>) -> u64 {
        let fails = |bytes: &Vec<u8>| self.send_wire_packet(&bytes[tun_packet::HEADER_BYTES..]).is_err();
        packet.segments().filter(fails).count() as u64
    }

    fn send_gso(&self, socket: &Socket, packet: &TunPacket<'_>, to: Mac) -> io::Result<()> {
        let header = packet.header_with_link_header(ETHERNET_HEADER_BYTES as u16);
        let mut ethernet = [0; ETHERNET_HEADER_BYTES];
        ethernet[..6].copy_from_slice(&to);
        ethernet[6..12].copy_from_slice(&self.source);
        ethernet[12..].copy_from_slice(&(libc::ETH_P_IP as u16).to_be_bytes());
        let slices = [&header[..], &ethernet, packet.packet()].map(io::IoSlice::new);
        socket.send_to_vectored(&slices, &self.device).map(|_sent| ())
    }
}

fn configure(socket: &Socket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_mark(MARK)?;
    if setsockopt(socket, sockopt::SndBufForce, &SEND_BUFFER_BYTES).is_err() {
        // In a user namespace, at most net.core.wmem_max: more packets are rejected on a slow device, and counted.
        socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    }
    Ok(())
}

fn packet_socket() -> io::Result<Socket> {
    // Protocol 0: the socket only sends; it receives no copies of packets.
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
    enable_gso(&socket)?;
    configure(&socket)?;
    Ok(socket)
}

/// Enables the virtio header before each packet (packet(7), `PACKET_VNET_HDR`).
fn enable_gso(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    let size = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the descriptor is open, and the kernel only reads the integer, which outlives the call.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_VNET_HDR, (&raw const on).cast(), size)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Returns the address for a packet socket that sends IPv4 packets by `device` (packet(7)).
fn link_layer_address(device: &str) -> io::Result<SockAddr> {
    let index = i32::try_from(if_nametoindex(device)?).map_err(io::Error::other)?;
    // SAFETY: all of a `sockaddr_ll` is integers and bytes, and it fits into the zeroed storage.
    let built = unsafe {
        SockAddr::try_init(|storage, length| {
            let address = storage.cast::<libc::sockaddr_ll>();
            (*address).sll_family = libc::AF_PACKET as libc::sa_family_t;
            (*address).sll_protocol = (libc::ETH_P_IP as u16).to_be();
            (*address).sll_ifindex = index;
            *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })
    };
    built.map(|((), address)| address)
}

/// Returns the device's own Ethernet address; zeros if it has none: it sends no GSO packets.
fn mac(device: &str) -> io::Result<Mac> {
    let mut addresses = getifaddrs()?.filter(|interface| interface.interface_name == device);
    let found = addresses.find_map(|interface| interface.address?.as_link_addr()?.addr());
    Ok(found.unwrap_or_default())
}

/// Returns the destination address, bytes 16 to 19 of the IPv4 header (RFC 791, section 3.1).
fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let bytes: [u8; 4] = packet.get(16..MIN_IP_HEADER_BYTES)?.try_into().ok()?;
    Some(bytes.into())
}
