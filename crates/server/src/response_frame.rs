//! Encoding of results and errors as response frames.
//!
//! The result is already JSON, so the text around it is written directly. A test compares it with the protocol's type.

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

/// Appends the frame of a response to `output`.
pub(crate) fn append(output: &mut Vec<u8>, result: Result<Vec<u8>, ErrorBody>, meta: ResponseMeta) -> WrittenResponse {
    match result {
        Ok(result) if result.len() > MAX_FRAME_BYTES - MAX_OVERHEAD_BYTES => {
            append_error(output, page_too_large(result.len()), meta)
        }
        Ok(result) => append_success(output, &result, meta),
        Err(error) => append_error(output, error, meta),
    }
}

/// Upper bound of the bytes around a result: four numbers of at most 20 digits, with their names.
const MAX_OVERHEAD_BYTES: usize = 256;

fn append_success(output: &mut Vec<u8>, result: &[u8], meta: ResponseMeta) -> WrittenResponse {
    let timing = meta.server_timing();
    let ServerTiming { server_us, queue_us, database_us, exchange_id } = timing;
    append_frame(output, MAX_OVERHEAD_BYTES + result.len(), |output| {
        // Writing to memory cannot fail.
        let _ = write!(
            output,
            r#"{{"ok":true,"server_us":{server_us},"queue_us":{queue_us},"database_us":{database_us},"exchange_id":{exchange_id},"result":"#
        );
        output.extend_from_slice(result);
        output.push(b'}');
    });
    WrittenResponse { error: None, timing }
}

fn append_error(output: &mut Vec<u8>, error: ErrorBody, meta: ResponseMeta) -> WrittenResponse {
    let (code, timing) = (error.code, meta.server_timing());
    let response = Response::failure(error, timing);
    append_frame(output, MAX_OVERHEAD_BYTES, |output| {
        // Serialising texts and numbers into memory cannot fail.
        let _ = serde_json::to_writer(output, &response);
    });
    WrittenResponse { error: Some(code), timing }
}

/// Appends a frame whose payload `write` appends, expected to have `bytes`.
fn append_frame(output: &mut Vec<u8>, bytes: usize, write: impl FnOnce(&mut Vec<u8>)) {
    let start = output.len();
    output.reserve(PREFIX_BYTES + bytes);
    output.extend_from_slice(&[0; PREFIX_BYTES]);
    write(output);
    let length = u32::try_from(output.len() - start - PREFIX_BYTES).unwrap_or(u32::MAX);
    output[start..start + PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
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

    fn response(result: Result<Vec<u8>, ErrorBody>) -> Response {
        append_and_decode(result).0
    }

    fn append_and_decode(result: Result<Vec<u8>, ErrorBody>) -> (Response, ServerTiming) {
        let mut output = Vec::new();
        let timing = RequestTiming { queue: Duration::from_nanos(40_999), database: Duration::from_micros(30) };
        let arrived = Instant::now().checked_sub(Duration::from_micros(71)).unwrap();
        let written = append(&mut output, result, ResponseMeta { arrived, timing, exchange_id: 17 });
        let mut decoder = FrameDecoder::default();
        decoder.feed(&output);
        let response = serde_json::from_slice(decoder.next_frame().unwrap().unwrap()).unwrap();
        assert!(!decoder.is_mid_frame());
        (response, written.timing)
    }

    #[test]
    fn the_response_of_a_success_follows_the_protocol() {
        let (response, timing) = append_and_decode(Ok(br#"{"order_id":7}"#.to_vec()));
        assert_eq!(response, Response::success(serde_json::json!({"order_id": 7}), timing));
        assert_eq!((response.queue_us, response.database_us, response.exchange_id), (Some(40), Some(30), Some(17)));
        assert!(response.server_us >= 71);
    }

    #[test]
    fn the_response_of_an_error_follows_the_protocol() {
        let error = ErrorBody::in_field(ErrorCode::InvalidField, "items[0].quantity", "say \"one\"");
        let (response, timing) = append_and_decode(Err(error.clone()));
        assert_eq!(response, Response::failure(error, timing));
    }

    #[test]
    fn a_result_larger_than_a_frame_becomes_an_error() {
        let largest = format!("\"{}\"", "x".repeat(MAX_FRAME_BYTES - MAX_OVERHEAD_BYTES - 2));
        assert!(response(Ok(largest.clone().into_bytes())).ok);
        let error = response(Ok(format!("{largest} ").into_bytes())).error.unwrap();
        assert_eq!((error.code, error.field.as_deref()), (ErrorCode::InvalidField, Some("page_size")));
    }
}
