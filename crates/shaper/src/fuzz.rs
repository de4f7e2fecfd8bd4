//! Fuzz target: packets as the TUN device may deliver them. CONTRIBUTING.md says how to try more inputs.

use crate::tun_packet::{HEADER_BYTES, TunPacket, complete_checksum};

/// Length of a link header, bytes: Ethernet's.
const LINK_HEADER_BYTES: u16 = 14;

#[test]
fn any_bytes_are_a_packet_or_refused() {
    bolero::check!().with_max_len(200).for_each(|input: &[u8]| {
        let mut bytes = input.to_vec();
        // Otherwise one of 16 inputs would be IPv4, and few of those a GSO packet.
        if let Some((choice, rest)) = input.split_first() {
            bytes = rest.to_vec();
            if choice % 8 != 0 && bytes.len() > HEADER_BYTES {
                bytes[HEADER_BYTES] = 0x45;
                bytes[1] = choice % 2;
            }
            if choice % 4 == 1 && bytes.len() > HEADER_BYTES {
                let (segment, tcp_offset) = (u16::from(*choice), 20_u16);
                bytes[4..6].copy_from_slice(&segment.to_ne_bytes());
                bytes[6..8].copy_from_slice(&tcp_offset.to_ne_bytes());
            }
        }
        if let Some(packet) = TunPacket::parse(&bytes) {
            check(&packet);
        }
        let length = bytes.len();
        complete_checksum(&mut bytes);
        assert_eq!(bytes.len(), length);
    });
}

/// Asserts that a packet and its segments agree.
fn check(packet: &TunPacket<'_>) {
    let (packets, bytes) = (packet.wire_packets(), packet.wire_bytes());
    assert!(packets > 0 && bytes >= packet.packet().len() as u64);
    if packet.is_gso() {
        let lengths: Vec<usize> = packet.segments().map(|segment| segment.len() - HEADER_BYTES).collect();
        assert_eq!((lengths.len(), lengths.iter().sum::<usize>()), (packets as usize, bytes as usize));
        let header = packet.header_with_link_header(LINK_HEADER_BYTES);
        assert_eq!(header[..2], packet.bytes()[..2]);
    }
}
