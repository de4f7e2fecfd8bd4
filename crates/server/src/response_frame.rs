//! Wrapping a result or an error as a response frame.
//!
//! The result is JSON already when it comes here, so the envelope is written around it manually; a test holds it to the
//! protocol's own type.

use std::io::Write as _;
use std::time::{Duration, Instant};

use protocol::frame::PREFIX_BYTES;
use protocol::response::ServerTiming;
use protocol::{ErrorBody, ErrorCode, MAX_FRAME_BYTES, Response};

use crate::request_timing::RequestTiming;

/// The course that a request took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResponseMeta {
    /// When it was complete in memory.
    pub(crate) arrived: Instant,
    /// Where its time went since.
    pub(crate) timing: RequestTiming,
    /// Its response's number.
    pub(crate) exchange_id: u64,
}

impl ResponseMeta {
    /// What the response says of it, if it is ready now. Each part is rounded down to whole microseconds, so that the
    /// parts are never more than the whole.
    fn handling(&self) -> ServerTiming {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        ServerTiming {
            server_us: micros(self.arrived.elapsed()),
            queue_us: micros(self.timing.queue),
            database_us: micros(self.timing.disk),
            exchange_id: self.exchange_id,
        }
    }
}

/// What was put into the envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WrittenResponse {
    /// `None` for a success.
    pub(crate) error: Option<ErrorCode>,
    /// What the response states.
    pub(crate) handling: ServerTiming,
}

/// Appends the response to a request.
pub(crate) fn append(
    output: &mut Vec<u8>,
    result: Result<Vec<u8>, ErrorBody>,
    course: ResponseMeta,
) -> WrittenResponse {
    match result {
        Ok(result) if result.len() > MAX_FRAME_BYTES - MAX_ENVELOPE => {
            append_error(output, too_long(result.len()), course)
        }
        Ok(result) => append_success(output, &result, course),
        Err(error) => append_error(output, error, course),
    }
}

/// More than what stands around a result: four numbers of 20 digits at most, and their names.
const MAX_ENVELOPE: usize = 256;

fn append_success(output: &mut Vec<u8>, result: &[u8], course: ResponseMeta) -> WrittenResponse {
    let handling = course.handling();
    let ServerTiming { server_us, queue_us, database_us, exchange_id } = handling;
    append_frame(output, MAX_ENVELOPE + result.len(), |output| {
        // Writing to memory can't fail.
        let _ = write!(
            output,
            r#"{{"ok":true,"server_us":{server_us},"queue_us":{queue_us},"database_us":{database_us},"exchange_id":{exchange_id},"result":"#
        );
        output.extend_from_slice(result);
        output.push(b'}');
    });
    WrittenResponse { error: None, handling }
}

fn append_error(output: &mut Vec<u8>, error: ErrorBody, course: ResponseMeta) -> WrittenResponse {
    let (code, handling) = (error.code, course.handling());
    // A response is texts and numbers: there is no way for its serialisation to fail.
    let payload = serde_json::to_vec(&Response::failure(error, handling)).unwrap_or_default();
    append_frame(output, payload.len(), |output| output.extend_from_slice(&payload));
    WrittenResponse { error: Some(code), handling }
}

/// Appends a frame around the payload that `write` appends, about `bytes` of it: the caller has made sure that it fits.
fn append_frame(output: &mut Vec<u8>, bytes: usize, write: impl FnOnce(&mut Vec<u8>)) {
    let start = output.len();
    output.reserve(PREFIX_BYTES + bytes);
    output.extend_from_slice(&[0; PREFIX_BYTES]);
    write(output);
    let length = u32::try_from(output.len() - start - PREFIX_BYTES).unwrap_or(u32::MAX);
    output[start..start + PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
}

/// Pages are the only results without a bound of their own.
fn too_long(bytes: usize) -> ErrorBody {
    let message = format!(
        "field 'page_size': the page has {bytes} bytes, more than a frame of {MAX_FRAME_BYTES} holds: ask for fewer rows"
    );
    ErrorBody::in_field(ErrorCode::InvalidField, "page_size", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::FrameDecoder;

    fn response(result: Result<Vec<u8>, ErrorBody>) -> Response {
        append_and_read(result).0
    }

    fn append_and_read(result: Result<Vec<u8>, ErrorBody>) -> (Response, ServerTiming) {
        let mut output = Vec::new();
        let timing = RequestTiming { queue: Duration::from_nanos(40_999), disk: Duration::from_micros(30) };
        let arrived = Instant::now().checked_sub(Duration::from_micros(71)).unwrap();
        let sent = append(&mut output, result, ResponseMeta { arrived, timing, exchange_id: 17 });
        let mut decoder = FrameDecoder::default();
        decoder.feed(&output);
        let response = serde_json::from_slice(decoder.next_frame().unwrap().unwrap()).unwrap();
        assert!(!decoder.is_mid_frame());
        (response, sent.handling)
    }

    #[test]
    fn a_success_is_a_response_of_the_protocol() {
        let (response, handling) = append_and_read(Ok(br#"{"order_id":7}"#.to_vec()));
        assert_eq!(response, Response::success(serde_json::json!({"order_id": 7}), handling));
        assert_eq!((response.queue_us, response.database_us, response.exchange_id), (Some(40), Some(30), Some(17)));
        assert!(response.server_us >= 71);
    }

    #[test]
    fn an_error_is_a_response_of_the_protocol() {
        let error = ErrorBody::in_field(ErrorCode::InvalidField, "items[0].quantity", "say \"one\"");
        let (response, handling) = append_and_read(Err(error.clone()));
        assert_eq!(response, Response::failure(error, handling));
    }

    #[test]
    fn a_result_that_no_frame_holds_becomes_an_error() {
        let just_fits = format!("\"{}\"", "x".repeat(MAX_FRAME_BYTES - MAX_ENVELOPE - 2));
        assert!(response(Ok(just_fits.clone().into_bytes())).ok);
        let error = response(Ok(format!("{just_fits} ").into_bytes())).error.unwrap();
        assert_eq!((error.code, error.field.as_deref()), (ErrorCode::InvalidField, Some("page_size")));
    }
}
