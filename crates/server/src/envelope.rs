//! Wrapping a result or an error as a response frame.
//!
//! The result is JSON already when it comes here, so the envelope is written around it by hand; a test holds it to the
//! protocol's own type.

use std::time::{Duration, Instant};

use shop_protocol::frame::PREFIX_BYTES;
use shop_protocol::{ErrorBody, ErrorCode, MAX_FRAME_BYTES, Response};

/// What was put into the envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    /// `None` for a success.
    pub(crate) error: Option<ErrorCode>,
    /// The handling time the response states.
    pub(crate) server_time: Duration,
}

/// Appends the response to a request that was complete in memory at `arrived`.
pub(crate) fn append(output: &mut Vec<u8>, result: Result<Vec<u8>, ErrorBody>, arrived: Instant) -> Sent {
    match result {
        Ok(result) if result.len() > MAX_FRAME_BYTES - LARGEST_ENVELOPE => {
            append_error(output, too_long(result.len()), arrived)
        }
        Ok(result) => append_success(output, &result, arrived),
        Err(error) => append_error(output, error, arrived),
    }
}

/// More than what stands around a result.
const LARGEST_ENVELOPE: usize = 128;

fn append_success(output: &mut Vec<u8>, result: &[u8], arrived: Instant) -> Sent {
    let server_time = arrived.elapsed();
    let head = format!(r#"{{"ok":true,"server_us":{},"result":"#, server_time.as_micros());
    append_frame(output, &[head.as_bytes(), result, b"}"]);
    Sent { error: None, server_time }
}

fn append_error(output: &mut Vec<u8>, error: ErrorBody, arrived: Instant) -> Sent {
    let (code, server_time) = (error.code, arrived.elapsed());
    let server_us = u64::try_from(server_time.as_micros()).unwrap_or(u64::MAX);
    // A response is texts and numbers: there is no way for its serialisation to fail.
    let payload = serde_json::to_vec(&Response::failure(error, server_us)).unwrap_or_default();
    append_frame(output, &[&payload]);
    Sent { error: Some(code), server_time }
}

/// The caller has made sure that the parts together fit into a frame.
fn append_frame(output: &mut Vec<u8>, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    output.reserve(PREFIX_BYTES + length);
    output.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    for part in parts {
        output.extend_from_slice(part);
    }
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
    use shop_protocol::FrameDecoder;

    fn response(result: Result<Vec<u8>, ErrorBody>) -> Response {
        let mut output = Vec::new();
        append(&mut output, result, Instant::now());
        let mut decoder = FrameDecoder::default();
        decoder.feed(&output);
        let response = serde_json::from_slice(decoder.next_frame().unwrap().unwrap()).unwrap();
        assert!(!decoder.is_mid_frame());
        response
    }

    #[test]
    fn a_success_is_a_response_of_the_protocol() {
        let response = response(Ok(br#"{"order_id":7}"#.to_vec()));
        assert_eq!(response, Response::success(serde_json::json!({"order_id": 7}), response.server_us));
    }

    #[test]
    fn an_error_is_a_response_of_the_protocol() {
        let error = ErrorBody::in_field(ErrorCode::InvalidField, "items[0].quantity", "say \"one\"");
        let response = response(Err(error.clone()));
        assert_eq!(response, Response::failure(error, response.server_us));
    }

    #[test]
    fn a_result_that_no_frame_holds_becomes_an_error() {
        let just_fits = format!("\"{}\"", "x".repeat(MAX_FRAME_BYTES - LARGEST_ENVELOPE - 2));
        assert!(response(Ok(just_fits.clone().into_bytes())).ok);
        let error = response(Ok(format!("{just_fits} ").into_bytes())).error.unwrap();
        assert_eq!((error.code, error.field.as_deref()), (ErrorCode::InvalidField, Some("page_size")));
    }
}
