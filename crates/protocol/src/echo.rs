//! UDP echo for probes through a published port, where the host would reply to ICMP instead of the server's kernel. One
//! datagram each way.
//!
//! Request and reply differ only in their first bytes. The reply has the length of the request, so the echo cannot
//! amplify traffic; and it is not a request, so two servers cannot be made to exchange replies endlessly.

/// First bytes of a request. The remaining bytes are returned unchanged.
pub const REQUEST: [u8; 8] = *b"shop-ech";
/// First bytes of a reply.
pub const REPLY: [u8; 8] = *b"shop-ECH";

/// Turns a request into its reply and returns true. Returns false and changes nothing if the datagram is not a request.
pub fn respond(datagram: &mut [u8]) -> bool {
    match datagram.first_chunk_mut() {
        Some(head) if *head == REQUEST => {
            *head = REPLY;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_becomes_a_reply_and_other_datagrams_get_none() {
        let mut datagram = [&REQUEST[..], &[1, 2, 3]].concat();
        assert!(respond(&mut datagram));
        assert_eq!(datagram, [&REPLY[..], &[1, 2, 3]].concat());
        assert!(!respond(&mut datagram));
        assert!(!respond(&mut REQUEST[..7].to_vec()));
    }
}
