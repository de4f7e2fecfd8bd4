//! Encoding of results and errors as response frames.
//!
//! The text around the result is written directly, so that no result is copied. A test compares it with the protocol's
//! type.

use std::io::Write as _;
use std::time::{Duration, Instant};

use protocol::frame::PREFIX_BYTES;
use protocol::response::ServerTiming;
use protocol::{ErrorBody, ErrorCode, MAX_FRAME_BYTES, Response};

use crate::request_timing::RequestTiming;

/// Timing and number of a response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResponseMeta {
    /// When the request was complete in memory.
    pub(crate) arrived: Instant,
    /// Time in queues and database.
    pub(crate) timing: RequestTiming,
    /// Number of the response.
    pub(crate) exchange_id: u64,
}

impl ResponseMeta {
    /// Returns the timing of a response that is complete now. Each value is rounded down to whole microseconds, so that
    /// the components never exceed the total.
    fn server_timing(&self) -> ServerTiming {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        ServerTiming {
            server_us: micros(self.arrived.elapsed()),
            queue_us: micros(self.timing.queue),
            database_us: micros(self.timing.database),
            exchange_id: self.exchange_id,
        }
    }
}

/// Response that was appended to the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WrittenResponse {
    /// `None` for a success.
    pub(crate) error: Option<ErrorCode>,
    /// Timing in the response.
    pub(crate) timing: ServerTiming,
}

/// Response that is being appended to the output. The caller appends the result's JSON between [`ResponseFrame::begin`] and
/// [`ResponseFrame::finish`].
#[derive(Debug)]
pub(crate) struct ResponseFrame {
    /// Position of the frame in the output.
    start: usize,
}

/// Payload of a success up to its result. The timing follows the result, because it is known only then.
const BEFORE_RESULT: &[u8] = br#"{"ok":true,"result":"#;
/// Upper bound of the bytes around a result: four numbers of at most 20 digits, with their names.
const MAX_OVERHEAD_BYTES: usize = 256;

impl ResponseFrame {
    /// Appends everything up to the result.
    pub(crate) fn begin(output: &mut Vec<u8>) -> Self {
        let start = output.len();
        output.extend_from_slice(&[0; PREFIX_BYTES]);
        output.extend_from_slice(BEFORE_RESULT);
        Self { start }
    }

    /// Appends the rest of the frame. An error replaces what was appended of the result.
    pub(crate) fn finish(
        self,
        output: &mut Vec<u8>,
        outcome: Result<(), ErrorBody>,
        meta: ResponseMeta,
    ) -> WrittenResponse {
        let bytes = output.len() - self.start - PREFIX_BYTES - BEFORE_RESULT.len();
        let outcome = match outcome {
            Ok(()) if bytes > MAX_FRAME_BYTES - MAX_OVERHEAD_BYTES => Err(page_too_large(bytes)),
            outcome => outcome,
        };
        let timing = meta.server_timing();
        let error = outcome.as_ref().err().map(|error| error.code);
        match outcome {
            Ok(()) => {
                let ServerTiming { server_us, queue_us, database_us, exchange_id } = timing;
                // Writing to memory cannot fail.
                let _ = write!(
                    output,
                    r#","server_us":{server_us},"queue_us":{queue_us},"database_us":{database_us},"exchange_id":{exchange_id}}}"#
                );
            }
            Err(error) => {
                output.truncate(self.start + PREFIX_BYTES);
                // Serialising texts and numbers into memory cannot fail.
                let _ = serde_json::to_writer(&mut *output, &Response::failure(error, timing));
            }
        }
        let payload = self.start + PREFIX_BYTES;
        let length = u32::try_from(output.len() - payload).unwrap_or(u32::MAX);
        output[self.start..payload].copy_from_slice(&length.to_be_bytes());
        WrittenResponse { error, timing }
    }
}

/// Returns the error for a result that exceeds a frame. Only pages can: other results are bounded.
fn page_too_large(bytes: usize) -> ErrorBody {
    let message = format!(
        "field 'page_size': the page has {bytes} bytes and does not fit into a frame of {MAX_FRAME_BYTES}: request fewer rows"
    );
    ErrorBody::in_field(ErrorCode::InvalidField, "page_size", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::FrameDecoder;

    fn response(result: Result<&[u8], ErrorBody>) -> (Response, ServerTiming) {
        let mut output = b"earlier response".to_vec();
        let timing = RequestTiming { queue: Duration::from_nanos(40_999), database: Duration::from_micros(30) };
        let arrived = Instant::now().checked_sub(Duration::from_micros(71)).unwrap();
        let frame = ResponseFrame::begin(&mut output);
        output.extend_from_slice(result.as_ref().copied().unwrap_or(b"half a result"));
        let written = frame.finish(&mut output, result.map(|_| ()), ResponseMeta { arrived, timing, exchange_id: 17 });
        let mut decoder = FrameDecoder::default();
        decoder.feed(output.strip_prefix(b"earlier response").unwrap());
        let response = serde_json::from_slice(decoder.next_frame().unwrap().unwrap()).unwrap();
        assert!(!decoder.is_mid_frame());
        (response, written.timing)
    }

    #[test]
    fn the_response_of_a_success_follows_the_protocol() {
        let (response, timing) = response(Ok(br#"{"order_id":7}"#));
        assert_eq!(response, Response::success(serde_json::json!({"order_id": 7}), timing));
        assert_eq!((response.queue_us, response.database_us, response.exchange_id), (Some(40), Some(30), Some(17)));
        assert!(response.server_us >= 71);
    }

    #[test]
    fn the_response_of_an_error_follows_the_protocol() {
        let error = ErrorBody::in_field(ErrorCode::InvalidField, "items[0].quantity", "say \"one\"");
        let (response, timing) = response(Err(error.clone()));
        assert_eq!(response, Response::failure(error, timing));
    }

    #[test]
    fn a_result_larger_than_a_frame_becomes_an_error() {
        let largest = format!("\"{}\"", "x".repeat(MAX_FRAME_BYTES - MAX_OVERHEAD_BYTES - 2));
        assert!(response(Ok(largest.as_bytes())).0.ok);
        let error = response(Ok(format!("{largest} ").as_bytes())).0.error.unwrap();
        assert_eq!((error.code, error.field.as_deref()), (ErrorCode::InvalidField, Some("page_size")));
    }
}
