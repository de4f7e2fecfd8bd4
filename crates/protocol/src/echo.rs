//! The echo that verifies the link where the server's kernel can't be asked: behind a published port, an echo request
//! of ICMP would be answered by the host. One UDP datagram each way.
//!
//! A request and its reply differ in their first bytes only, so an answer is as long as what it answers (nothing is
//! amplified) and is never answered itself (two servers can't be made to talk to each other for ever).

/// How a request starts. What follows is the asker's own, and comes back as it was.
pub const REQUEST: [u8; 8] = *b"shop-ech";
/// How a reply starts.
pub const REPLY: [u8; 8] = *b"shop-ECH";

/// Makes the reply to a datagram out of it; false, and nothing done, when it is no request.
pub fn answer(datagram: &mut [u8]) -> bool {
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
    fn a_request_becomes_a_reply_and_a_reply_becomes_nothing() {
        let mut datagram = [&REQUEST[..], &[1, 2, 3]].concat();
        assert!(answer(&mut datagram));
        assert_eq!(datagram, [&REPLY[..], &[1, 2, 3]].concat());
        assert!(!answer(&mut datagram));
        assert!(!answer(&mut REQUEST[..7].to_vec()));
    }
}
