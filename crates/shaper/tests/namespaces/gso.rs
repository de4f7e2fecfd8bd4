//! GSO packets of given sizes for the shaper's TUN device; TCP would choose the sizes itself.

use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;

use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::fixture::Fixture;

/// GSO packet of TCP segments.
#[derive(Clone, Copy)]
pub(crate) struct GsoPacket {
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    /// Payload of each segment but the last.
    pub(crate) segment_bytes: u16,
    pub(crate) payload_bytes: u16,
}

const IP_HEADER_BYTES: u16 = 20;
const TCP_HEADER_BYTES: u16 = 20;
/// `VIRTIO_NET_HDR_F_NEEDS_CSUM` and `VIRTIO_NET_HDR_GSO_TCPV4` (virtio 1.2, section 5.1.6).
const FLAGS_AND_GSO_TYPE: [u8; 2] = [1, 1];
/// In the TCP header.
const CHECKSUM_OFFSET: u16 = 16;

impl GsoPacket {
    /// Sends the packet from the near namespace into the TUN device (packet(7)).
    pub(crate) fn send(self, fixture: &Fixture) {
        Fixture::inside(&fixture.near, || {
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0))).unwrap();
            let on: libc::c_int = 1;
            let size = size_of_val(&on) as libc::socklen_t;
            // SAFETY: the descriptor is open, and the kernel only reads the integer, which outlives the call.
            let result = unsafe {
                libc::setsockopt(
                    socket.as_raw_fd(),
                    libc::SOL_PACKET,
                    libc::PACKET_VNET_HDR,
                    (&raw const on).cast(),
                    size,
                )
            };
            assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
            socket.send_to(&self.bytes(), &tun()).unwrap();
        });
    }

    fn bytes(self) -> Vec<u8> {
        let headers = IP_HEADER_BYTES + TCP_HEADER_BYTES;
        let mut bytes = FLAGS_AND_GSO_TYPE.to_vec();
        for number in [headers, self.segment_bytes, IP_HEADER_BYTES, CHECKSUM_OFFSET] {
            bytes.extend(number.to_ne_bytes());
        }
        let mut packet = vec![0; usize::from(headers + self.payload_bytes)];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&(headers + self.payload_bytes).to_be_bytes());
        packet[8] = 64;
        packet[9] = libc::IPPROTO_TCP as u8;
        packet[12..16].copy_from_slice(&self.source.octets());
        packet[16..20].copy_from_slice(&self.destination.octets());
        packet[32] = (TCP_HEADER_BYTES as u8 / 4) << 4;
        bytes.extend(packet);
        bytes
    }
}

fn tun() -> SockAddr {
    let index = i32::try_from(if_nametoindex("shaper0").unwrap()).unwrap();
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
    built.unwrap().1
}
