//! Encodes and decodes UDP echo datagrams ([`protocol::echo`]). Pure.

use protocol::echo;

/// Bytes before the padding: the protocol's magic value, identifier, sequence number.
pub(super) const HEADER_BYTES: usize = echo::REQUEST.len() + 4;

/// Returns a request of `payload_bytes`, or of its header's size if that is larger.
pub(super) fn request(identifier: u16, sequence: u16, payload_bytes: u16) -> Vec<u8> {
    let mut datagram = [&echo::REQUEST[..], &identifier.to_be_bytes(), &sequence.to_be_bytes()].concat();
    datagram.resize(usize::from(payload_bytes).max(HEADER_BYTES), 0);
    datagram
}

/// Returns identifier and sequence number of a reply; `None` for anything else.
pub(super) fn reply(datagram: &[u8]) -> Option<(u16, u16)> {
    let header = datagram.strip_prefix(&echo::REPLY)?.first_chunk::<4>()?;
    Some((u16::from_be_bytes([header[0], header[1]]), u16::from_be_bytes([header[2], header[3]])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_contains_identifier_and_number_of_its_request() {
        let mut datagram = request(0x1234, 7, 56);
        assert_eq!(datagram.len(), 56);
        assert_eq!(reply(&datagram), None);
        assert!(echo::respond(&mut datagram));
        assert_eq!(reply(&datagram), Some((0x1234, 7)));
        assert_eq!(reply(&datagram[..HEADER_BYTES - 1]), None);
        assert_eq!(request(1, 1, 0).len(), HEADER_BYTES);
    }
}
