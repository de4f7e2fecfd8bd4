//! Framing: a 4-byte big-endian length, then that many bytes of JSON.
//!
//! `FrameDecoder` is fed whatever a socket delivers and gives back whole frames; an incomplete frame is no error.

/// The largest payload that is accepted, bytes.
pub const MAX_FRAME_BYTES: usize = 1024 * 1024;
/// The length prefix, bytes.
pub const PREFIX_BYTES: usize = 4;

/// A frame announced a payload that is larger than [`MAX_FRAME_BYTES`]. The stream can't be read on after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("frame of {announced} bytes, at most {MAX_FRAME_BYTES} are accepted")]
pub struct FrameTooLarge {
    /// What the length prefix said, bytes.
    pub announced: usize,
}

/// Puts the length before `payload`.
///
/// # Errors
/// [`FrameTooLarge`] when the payload is larger than the protocol allows.
pub fn encode_frame(payload: &[u8]) -> Result<Vec<u8>, FrameTooLarge> {
    let too_large = FrameTooLarge { announced: payload.len() };
    if payload.len() > MAX_FRAME_BYTES {
        return Err(too_large);
    }
    let length = u32::try_from(payload.len()).map_err(|_| too_large)?;
    let mut frame = Vec::with_capacity(PREFIX_BYTES + payload.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(payload);
    Ok(frame)
}

/// Cuts a stream of bytes into frames.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    /// Received and not yet given out; starts at a length prefix.
    buffer: Vec<u8>,
    /// How much of the buffer's front was given out already.
    consumed: usize,
}

impl FrameDecoder {
    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.consumed > 0 {
            self.buffer.drain(..self.consumed);
            self.consumed = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The payload of the next whole frame, or `None` until more bytes were fed.
    ///
    /// # Errors
    /// [`FrameTooLarge`], and again at every further call: the stream has no recoverable frame border any more.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameTooLarge> {
        let rest = &self.buffer[self.consumed..];
        let Some((prefix, body)) = rest.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes(*prefix) as usize;
        if length > MAX_FRAME_BYTES {
            return Err(FrameTooLarge { announced: length });
        }
        if body.len() < length {
            return Ok(None);
        }
        let start = self.consumed + PREFIX_BYTES;
        self.consumed = start + length;
        Ok(Some(&self.buffer[start..start + length]))
    }

    /// Whether some bytes of an unfinished frame are waiting.
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
    fn a_frame_is_its_length_and_then_its_payload() {
        assert_eq!(encode_frame(b"{}").unwrap(), [0, 0, 0, 2, b'{', b'}']);
    }

    #[test]
    fn the_largest_frame_passes_and_one_byte_more_does_not() {
        assert!(encode_frame(&vec![b' '; MAX_FRAME_BYTES]).is_ok());
        assert_eq!(
            encode_frame(&vec![b' '; MAX_FRAME_BYTES + 1]),
            Err(FrameTooLarge { announced: MAX_FRAME_BYTES + 1 })
        );
        let mut decoder = FrameDecoder::default();
        decoder.feed(&[0xff; 4]);
        assert_eq!(decoder.next_frame(), Err(FrameTooLarge { announced: 0xffff_ffff }));
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting_of_the_stream(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..10),
            chunk in 1usize..50,
        ) {
            let stream: Vec<u8> = payloads.iter().flat_map(|payload| encode_frame(payload).unwrap()).collect();
            let mut decoder = FrameDecoder::default();
            let mut seen = Vec::new();
            for part in stream.chunks(chunk) {
                decoder.feed(part);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    seen.push(frame.to_vec());
                }
            }
            prop_assert_eq!(seen, payloads);
            prop_assert!(!decoder.is_mid_frame());
        }
    }
}
