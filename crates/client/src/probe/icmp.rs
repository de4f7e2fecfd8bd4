//! Encodes and decodes ICMP echo messages (RFC 792). Pure.

const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
const HEADER_BYTES: usize = 8;

/// Returns an echo request with a payload of `payload_bytes`.
pub(super) fn request(identifier: u16, sequence: u16, payload_bytes: u16) -> Vec<u8> {
    let mut packet = vec![0; HEADER_BYTES + usize::from(payload_bytes)];
    packet[0] = ECHO_REQUEST;
    packet[4..6].copy_from_slice(&identifier.to_be_bytes());
    packet[6..8].copy_from_slice(&sequence.to_be_bytes());
    for (index, byte) in packet[HEADER_BYTES..].iter_mut().enumerate() {
        *byte = index as u8;
    }
    let sum = checksum(&packet);
    packet[2..4].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// Returns identifier and sequence number of an echo reply; `None` for any other ICMP message.
pub(super) fn reply(message: &[u8]) -> Option<(u16, u16)> {
    let header = message.first_chunk::<HEADER_BYTES>()?;
    let is_reply = header[0] == ECHO_REPLY && header[1] == 0;
    is_reply.then(|| (u16::from_be_bytes([header[4], header[5]]), u16::from_be_bytes([header[6], header[7]])))
}

/// Returns the payload of an IPv4 packet.
pub(super) fn ipv4_payload(packet: &[u8]) -> Option<&[u8]> {
    let first = packet.first()?;
    packet.get(usize::from(first & 0x0f) * 4..)
}

/// Returns the Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !(((folded & 0xffff) + (folded >> 16)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_rfc_1071s_example_is_correct() {
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(checksum(&[0xff]), 0x00ff);
    }

    #[test]
    fn a_packet_with_its_checksum_sums_up_to_zero() {
        for size in [0, 1, 56, 1400] {
            let packet = request(0x1234, 7, size);
            assert_eq!(packet.len(), 8 + usize::from(size));
            assert_eq!(checksum(&packet), 0);
        }
    }

    #[test]
    fn only_echo_replies_are_replies() {
        let mut packet = request(0x1234, 7, 4);
        assert_eq!(reply(&packet), None);
        packet[0] = ECHO_REPLY;
        assert_eq!(reply(&packet), Some((0x1234, 7)));
        assert_eq!(reply(&packet[..7]), None);
    }

    #[test]
    fn the_payload_starts_after_the_stated_length_of_the_ipv4_header() {
        let mut packet = vec![0x46; 24];
        packet.push(9);
        assert_eq!(ipv4_payload(&packet), Some(&[9][..]));
        assert_eq!(ipv4_payload(&[0x45, 0]), None);
        assert_eq!(ipv4_payload(&[]), None);
    }
}
