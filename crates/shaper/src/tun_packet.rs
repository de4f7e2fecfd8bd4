//! Packets read from the TUN device: wire packets, or GSO packets of TCP segments that the kernel has not segmented
//! yet.
//!
//! GSO packets make a bulk transfer ten times cheaper, and the device of an unshaped link receives them, too. The bytes
//! start with the header in which the kernel describes the packet (`struct virtio_net_hdr`, virtio 1.2, section 5.1.6).
//! Pure.

use std::net::Ipv4Addr;

/// Length of the virtio header before each packet.
pub(crate) const HEADER_BYTES: usize = 10;

/// A wire packet or a GSO packet, with its virtio header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TunPacket<'a> {
    bytes: &'a [u8],
}

const MIN_IP_HEADER_BYTES: usize = 20;
const MAX_IP_HEADER_BYTES: usize = 60;
const MIN_TCP_HEADER_BYTES: usize = 20;

/// `flags`: the checksum is partial and must be completed.
const NEEDS_CHECKSUM: u8 = 1;
/// `gso_type`: a wire packet.
const GSO_NONE: u8 = 0;

// Offsets in an IPv4 header (RFC 791) and, from its own start, in a TCP header (RFC 9293).
const IP_LENGTH: usize = 2;
const IP_ID: usize = 4;
const TCP_SEQUENCE: usize = 4;
const TCP_DATA_OFFSET: usize = 12;
const TCP_FLAGS: usize = 13;
const TCP_CHECKSUM: usize = 16;
const FIN_AND_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

impl<'a> TunPacket<'a> {
    /// Parses `bytes`; `None` unless they are a complete IPv4 packet, and a GSO packet has complete TCP headers.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let parsed = Self { bytes };
        let packet = bytes.get(HEADER_BYTES..)?;
        let is_ipv4 = packet.len() >= MIN_IP_HEADER_BYTES && packet[0] >> 4 == 4;
        let is_valid = !parsed.is_gso()
            || (parsed.segment_bytes() > 0
                && (MIN_IP_HEADER_BYTES..=MAX_IP_HEADER_BYTES).contains(&parsed.tcp_offset())
                && packet.len() >= parsed.tcp_offset() + MIN_TCP_HEADER_BYTES
                && parsed.header_bytes() >= parsed.tcp_offset() + MIN_TCP_HEADER_BYTES
                && packet.len() > parsed.header_bytes());
        (is_ipv4 && is_valid).then_some(parsed)
    }

    /// Returns the packet from the IP header on.
    pub(crate) fn packet(&self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// Returns all bytes, virtio header included.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn is_gso(&self) -> bool {
        self.bytes[1] != GSO_NONE
    }

    /// Returns the number of packets on the wire.
    pub(crate) fn wire_packets(&self) -> u32 {
        if !self.is_gso() {
            return 1;
        }
        let payload = self.packet().len() - self.header_bytes();
        u32::try_from(payload.div_ceil(self.segment_bytes())).unwrap_or(u32::MAX)
    }

    /// Returns the number of bytes on the wire, counted from the IP headers on.
    pub(crate) fn wire_bytes(&self) -> u64 {
        let repeated_headers = if self.is_gso() { self.header_bytes() * (self.wire_packets() as usize - 1) } else { 0 };
        (self.packet().len() + repeated_headers) as u64
    }

    /// Returns the virtio header of a GSO packet that is sent with `link_header` bytes before its IP header.
    pub(crate) fn header_with_link_header(&self, link_header: u16) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header.copy_from_slice(&self.bytes[..HEADER_BYTES]);
        let headers = u16::try_from(self.header_bytes()).unwrap_or(u16::MAX);
        header[2..4].copy_from_slice(&(headers + link_header).to_ne_bytes());
        header[6..8].copy_from_slice(&(self.header_field(6) + link_header).to_ne_bytes());
        header
    }

    /// Segments a GSO packet as the kernel does. Returns the bytes of each wire packet, virtio header included; the raw
    /// socket fills in the IP checksum.
    pub(crate) fn segments(&self) -> impl Iterator<Item = Vec<u8>> + use<'a> {
        let (headers, payload) = self.packet().split_at(self.header_bytes());
        let (tcp_offset, segment_bytes) = (self.tcp_offset(), self.segment_bytes());
        let last = payload.len().div_ceil(segment_bytes) - 1;
        payload.chunks(segment_bytes).enumerate().map(move |(nth, chunk)| {
            let mut bytes = [&[0; HEADER_BYTES], headers, chunk].concat();
            let packet = &mut bytes[HEADER_BYTES..];
            let length = packet.len() as u16;
            packet[IP_LENGTH..][..2].copy_from_slice(&length.to_be_bytes());
            let id = u16::from_be_bytes([headers[IP_ID], headers[IP_ID + 1]]).wrapping_add(nth as u16);
            packet[IP_ID..][..2].copy_from_slice(&id.to_be_bytes());
            let (source, destination) = (address(packet, 12), address(packet, 16));
            let tcp = &mut packet[tcp_offset..];
            let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
            let sequence = sequence.wrapping_add((nth * segment_bytes) as u32);
            tcp[TCP_SEQUENCE..][..4].copy_from_slice(&sequence.to_be_bytes());
            if nth != last {
                tcp[TCP_FLAGS] &= !FIN_AND_PSH;
            }
            if nth != 0 {
                tcp[TCP_FLAGS] &= !CWR;
            }
            tcp[TCP_CHECKSUM..][..2].fill(0);
            let pseudo = pseudo_header_sum(source, destination, tcp.len() as u16);
            let checksum = fold(pseudo + sum(tcp));
            tcp[TCP_CHECKSUM..][..2].copy_from_slice(&checksum.to_be_bytes());
            bytes
        })
    }

    fn segment_bytes(&self) -> usize {
        self.header_field(4).into()
    }

    /// Returns the offset of a GSO packet's TCP header (`csum_start`).
    fn tcp_offset(&self) -> usize {
        self.header_field(6).into()
    }

    /// Returns the length of a GSO packet's IP and TCP headers.
    fn header_bytes(&self) -> usize {
        self.tcp_offset() + usize::from(self.packet()[self.tcp_offset() + TCP_DATA_OFFSET] >> 4) * 4
    }

    /// Returns a field of the virtio header, which is in the host's byte order.
    fn header_field(&self, at: usize) -> u16 {
        u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]])
    }
}

/// Completes the checksum of a wire packet if the kernel left it partial: the field holds the sum of the pseudo header.
pub(crate) fn complete_checksum(bytes: &mut [u8]) {
    let Some((header, packet)) = bytes.split_first_chunk_mut::<HEADER_BYTES>() else { return };
    if header[0] & NEEDS_CHECKSUM == 0 || header[1] != GSO_NONE {
        return;
    }
    let start = usize::from(u16::from_ne_bytes([header[6], header[7]]));
    let field = start + usize::from(u16::from_ne_bytes([header[8], header[9]]));
    if packet.len() >= field + 2 {
        let checksum = fold(sum(&packet[start..]));
        packet[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
    }
    header.fill(0);
}

fn address(packet: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3])
}

/// Returns the sum of the pseudo header, which is part of the TCP checksum (RFC 9293, section 3.1).
fn pseudo_header_sum(source: Ipv4Addr, destination: Ipv4Addr, length: u16) -> u64 {
    sum(&source.octets()) + sum(&destination.octets()) + libc::IPPROTO_TCP as u64 + u64::from(length)
}

/// Returns the sum of 16-bit words, the last one padded with zero (RFC 1071).
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<2>();
    let whole: u64 = words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum();
    whole + rest.first().map_or(0, |byte| u64::from(*byte) << 8)
}

/// Returns the checksum of a sum. Never 0, which means "no checksum" in UDP: 0xffff is the same number.
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    match !(sum as u16) {
        0 => 0xffff,
        checksum => checksum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADERS: usize = 52;

    /// Returns a GSO packet as the kernel sends it: 20 bytes of IP header, 32 of TCP header, segments of 1448 bytes.
    fn gso_packet(payload: usize) -> Vec<u8> {
        let mut bytes = vec![NEEDS_CHECKSUM, 1];
        for number in [HEADERS as u16, 1448, 20, 16] {
            bytes.extend(number.to_ne_bytes());
        }
        let mut packet = vec![0; HEADERS];
        packet[0] = 0x45;
        packet[IP_ID..][..2].copy_from_slice(&0xffff_u16.to_be_bytes());
        packet[9] = 6;
        packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        packet[20 + TCP_SEQUENCE..][..4].copy_from_slice(&(u32::MAX - 999).to_be_bytes());
        packet[20 + TCP_DATA_OFFSET] = 8 << 4;
        packet[20 + TCP_FLAGS] = CWR | 0x10 | FIN_AND_PSH;
        packet.extend((0..payload).map(|at| at as u8));
        let length = packet.len() as u16;
        packet[IP_LENGTH..][..2].copy_from_slice(&length.to_be_bytes());
        bytes.extend(packet);
        bytes
    }

    /// Checks as a receiver does: the sum over all words, checksum included, is all ones.
    fn assert_checksum(segment: &[u8]) {
        let tcp = &segment[20..];
        let total = pseudo_header_sum(address(segment, 12), address(segment, 16), tcp.len() as u16) + sum(tcp);
        assert_eq!(fold(total), 0xffff, "a complete sum folds to zero, which is returned as 0xffff");
    }

    proptest::proptest! {
        #[test]
        fn a_segmented_gso_packet_has_the_same_payload_and_correct_headers(payload in 1usize..40_000) {
            let bytes = gso_packet(payload);
            let packet = TunPacket::parse(&bytes).unwrap();
            let segments: Vec<_> = packet.segments().collect();
            proptest::prop_assert_eq!(segments.len(), payload.div_ceil(1448));
            proptest::prop_assert_eq!(packet.wire_packets() as usize, segments.len());
            proptest::prop_assert_eq!(packet.wire_bytes() as usize, payload + HEADERS * segments.len());
            let mut payloads = Vec::<u8>::new();
            for (nth, bytes) in segments.iter().enumerate() {
                let segment = TunPacket::parse(bytes).unwrap();
                let packet = segment.packet();
                let number = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
                proptest::prop_assert!(!segment.is_gso());
                proptest::prop_assert_eq!(usize::from(number(IP_LENGTH)), packet.len());
                proptest::prop_assert_eq!(number(IP_ID), 0xffff_u16.wrapping_add(nth as u16));
                let sequence = u32::from_be_bytes(packet[24..28].try_into().unwrap());
                proptest::prop_assert_eq!(sequence, (u32::MAX - 999).wrapping_add(payloads.len() as u32));
                let flags = packet[20 + TCP_FLAGS];
                proptest::prop_assert_eq!(flags & CWR != 0, nth == 0);
                proptest::prop_assert_eq!(flags & FIN_AND_PSH != 0, nth == segments.len() - 1);
                assert_checksum(packet);
                payloads.extend(&packet[HEADERS..]);
            }
            proptest::prop_assert_eq!(&payloads, &packet.packet()[HEADERS..]);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(0u8..=255, 0..200)) {
            if let Some(packet) = TunPacket::parse(&bytes) {
                proptest::prop_assert!(packet.wire_packets() >= 1 && packet.wire_bytes() >= 20);
                if packet.is_gso() {
                    proptest::prop_assert_eq!(packet.segments().count(), packet.wire_packets() as usize);
                }
            }
            complete_checksum(&mut bytes.clone());
        }
    }

    #[test]
    fn a_partial_checksum_is_completed_and_a_complete_one_is_kept() {
        let mut bytes = gso_packet(100);
        bytes[1] = GSO_NONE;
        let partial = pseudo_header_sum([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 132) as u16;
        bytes[HEADER_BYTES + 20 + TCP_CHECKSUM..][..2].copy_from_slice(&partial.to_be_bytes());
        complete_checksum(&mut bytes);
        // `assert_checksum` adds the pseudo header, as a receiver does.
        assert_checksum(&bytes[HEADER_BYTES..]);
        let complete = bytes.clone();
        complete_checksum(&mut bytes);
        assert_eq!(bytes, complete);
    }

    #[test]
    fn anything_but_ipv4_with_complete_headers_is_rejected() {
        let complete = gso_packet(10);
        assert!(TunPacket::parse(&complete).is_some());
        assert!(TunPacket::parse(&complete[..HEADER_BYTES + 19]).is_none());
        assert!(TunPacket::parse(&complete[..HEADER_BYTES + HEADERS]).is_none(), "a GSO packet without payload");
        let mut short_tcp_header = complete.clone();
        short_tcp_header[HEADER_BYTES + 20 + TCP_DATA_OFFSET] = 4 << 4;
        assert!(TunPacket::parse(&short_tcp_header).is_none());
        let mut ipv6 = complete;
        ipv6[HEADER_BYTES] = 0x60;
        assert!(TunPacket::parse(&ipv6).is_none());
    }
}
