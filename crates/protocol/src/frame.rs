//! Framing: a 4-byte big-endian length, then that many bytes of JSON.
//!
//! [`FrameDecoder`] takes the bytes of a socket in any portions and returns complete frames. An incomplete frame is not
//! an error.

use std::fmt;

/// Maximum payload of a response, bytes. Requests have smaller limits: `Port::max_request_bytes`.
pub const MAX_FRAME_BYTES: usize = 1024 * 1024;
/// Size of the length prefix, bytes.
pub const PREFIX_BYTES: usize = 4;

/// Error for a payload larger than the maximum. The rest of the stream cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub struct FrameTooLarge {
    /// Length of the payload according to its prefix, bytes.
    pub announced: usize,
    /// Maximum payload, bytes.
    pub maximum: usize,
}

impl FrameTooLarge {
    /// Returns which other protocol starts with the bytes of the length prefix.
    fn other_protocol(self) -> Option<&'static str> {
        let prefix = u32::try_from(self.announced).ok()?.to_be_bytes();
        match &prefix {
            b"GET " | b"HEAD" | b"POST" | b"PUT " | b"DELE" | b"OPTI" | b"PATC" | b"CONN" | b"TRAC" | b"PRI " => {
                Some("an HTTP request")
            }
            // A record of the type handshake, of the versions 3.1 to 3.4 (RFC 8446, section 5.1).
            [0x16, 0x03, ..] => Some("a TLS handshake"),
            // A record of the type alert: the answer of a server with TLS to a request in clear text.
            [0x15, 0x03, ..] => Some("a TLS alert"),
            b"SSH-" => Some("an SSH connection"),
            _ => None,
        }
    }
}

impl fmt::Display for FrameTooLarge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { announced, maximum } = self;
        match self.other_protocol() {
            Some(other) => write!(
                formatter,
                "the first bytes are those of {other}, expected a frame: a length of four bytes, at most \
                 {maximum}, and a JSON object"
            ),
            None => write!(formatter, "frame too large: {announced} bytes, expected at most {maximum}"),
        }
    }
}

/// Returns the frame of `payload`: its length, then the payload.
///
/// # Errors
/// The payload is too large.
pub fn encode_frame(payload: &[u8]) -> Result<Vec<u8>, FrameTooLarge> {
    let too_large = FrameTooLarge { announced: payload.len(), maximum: MAX_FRAME_BYTES };
    if payload.len() > MAX_FRAME_BYTES {
        return Err(too_large);
    }
    let length = u32::try_from(payload.len()).map_err(|_| too_large)?;
    let mut frame = Vec::with_capacity(PREFIX_BYTES + payload.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(payload);
    Ok(frame)
}

/// Decoder from a stream of bytes to frames.
#[derive(Debug)]
pub struct FrameDecoder {
    /// Received bytes; the first unread one, at `consumed`, starts a length prefix.
    buffer: Vec<u8>,
    /// Bytes at the front of the buffer that belong to frames already returned.
    consumed: usize,
    /// Maximum payload, bytes.
    maximum: usize,
}

impl Default for FrameDecoder {
    /// Returns a decoder of responses.
    fn default() -> Self {
        Self::new(MAX_FRAME_BYTES)
    }
}

impl FrameDecoder {
    /// Returns a decoder of frames with payloads of up to `maximum` bytes.
    #[must_use]
    pub fn new(maximum: usize) -> Self {
        Self { buffer: Vec::new(), consumed: 0, maximum }
    }

    /// Appends the next bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer().extend_from_slice(bytes);
    }

    /// Returns the buffer to which the next bytes of the stream are to be appended. It contains the start of an
    /// incomplete frame, if there is one.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.buffer.drain(..self.consumed);
        self.consumed = 0;
        &mut self.buffer
    }

    /// Returns the payload of the next complete frame, or `None` until more bytes are fed.
    ///
    /// # Errors
    /// The frame is too large, and then for every further call: the next frame's start is unknown.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameTooLarge> {
        let Some(length) = self.next_length()? else { return Ok(None) };
        let start = self.consumed + PREFIX_BYTES;
        let Some(payload) = self.buffer.get(start..start + length) else { return Ok(None) };
        self.consumed = start + length;
        Ok(Some(payload))
    }

    /// Returns the length of the next payload, once its prefix is complete.
    fn next_length(&self) -> Result<Option<usize>, FrameTooLarge> {
        let Some(prefix) = self.buffer[self.consumed..].first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let announced = u32::from_be_bytes(*prefix) as usize;
        if announced > self.maximum {
            return Err(FrameTooLarge { announced, maximum: self.maximum });
        }
        Ok(Some(announced))
    }

    /// Returns the size of the incomplete frame in the buffer, bytes: 0 without one, and the size of the prefix while
    /// that is incomplete.
    #[must_use]
    pub fn incomplete_frame_bytes(&self) -> usize {
        match self.next_length() {
            Ok(Some(length)) => PREFIX_BYTES + length,
            _ if self.is_mid_frame() => PREFIX_BYTES,
            _ => 0,
        }
    }

    /// Returns whether the buffer contains the start of an incomplete frame.
    #[must_use]
    pub fn is_mid_frame(&self) -> bool {
        self.consumed < self.buffer.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_is_the_length_followed_by_the_payload() {
        assert_eq!(encode_frame(b"{}").unwrap(), [0, 0, 0, 2, b'{', b'}']);
    }

    #[test]
    fn the_largest_frame_is_accepted_and_one_byte_more_is_not() {
        assert!(encode_frame(&vec![b' '; MAX_FRAME_BYTES]).is_ok());
        assert_eq!(
            encode_frame(&vec![b' '; MAX_FRAME_BYTES + 1]),
            Err(FrameTooLarge { announced: MAX_FRAME_BYTES + 1, maximum: MAX_FRAME_BYTES })
        );
        let mut decoder = FrameDecoder::new(10);
        decoder.feed(&[0, 0, 0, 10]);
        assert_eq!(decoder.next_frame(), Ok(None));
        assert_eq!(decoder.incomplete_frame_bytes(), 14);
        let mut decoder = FrameDecoder::new(10);
        decoder.feed(&[0, 0, 0]);
        assert_eq!(decoder.next_frame(), Ok(None));
        assert_eq!(decoder.incomplete_frame_bytes(), 4);
        decoder.feed(&[11]);
        assert_eq!(decoder.next_frame(), Err(FrameTooLarge { announced: 11, maximum: 10 }));
    }

    #[test]
    fn the_error_names_another_protocol() {
        for (bytes, name) in [
            (b"GET / HTTP/1.1".as_slice(), "HTTP"),
            (&[0x16, 0x03, 0x01, 0x02, 0x00], "TLS handshake"),
            (&[0x15, 0x03, 0x01, 0x00, 0x02], "TLS alert"),
            (b"SSH-2.0-OpenSSH_9.9", "SSH"),
            (&[0xff; 4], "4294967295 bytes"),
        ] {
            let mut decoder = FrameDecoder::default();
            decoder.feed(bytes);
            let message = decoder.next_frame().unwrap_err().to_string();
            assert!(message.contains(name), "{message}");
        }
    }

    proptest! {
        #[test]
        fn frames_are_decoded_from_any_portions_of_the_stream(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..10),
            chunk in 1usize..50,
        ) {
            let stream: Vec<u8> = payloads.iter().flat_map(|payload| encode_frame(payload).unwrap()).collect();
            let mut decoder = FrameDecoder::default();
            let mut decoded = Vec::new();
            for part in stream.chunks(chunk) {
                decoder.feed(part);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    decoded.push(frame.to_vec());
                }
            }
            prop_assert_eq!(decoded, payloads);
            prop_assert!(!decoder.is_mid_frame());
        }
    }
}
