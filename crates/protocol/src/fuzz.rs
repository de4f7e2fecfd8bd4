//! Fuzz targets: the framing, and the decoding of requests. Each run of the tests tries some thousand inputs; CONTRIBUTING.md
//! says how to try more, and how to use libFuzzer.

use std::fmt::Write as _;

use crate::request::tests::every_request;
use crate::request::{Command, Port, Request};
use crate::{ErrorBody, FrameDecoder, encode_frame};

/// Bytes of an input, read as choices.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    /// Returns the next byte; 0 at the end.
    fn byte(&mut self) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first)
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.byte() % all.len()]
    }
}

#[test]
fn frames_are_the_same_however_they_arrive() {
    bolero::check!().for_each(|input: &[u8]| {
        let mut choices = Choices(input);
        let maximum = choices.of(&[0, 1, 5, 64, 1000]);
        let mut stream = Vec::new();
        for _ in 0..choices.byte() % 6 {
            let payload = vec![b'x'; choices.byte()];
            stream.extend(encode_frame(&payload).unwrap());
        }
        stream.extend_from_slice(choices.0);
        let expected = split_by_definition(&stream, maximum);
        let mut decoder = FrameDecoder::new(maximum);
        let (mut frames, mut rest) = (Vec::new(), stream.as_slice());
        let mut failed = false;
        while !rest.is_empty() && !failed {
            let (portion, later) = rest.split_at(rest.len().min(1 + choices.byte() % 50));
            rest = later;
            if choices.byte() % 2 == 0 {
                decoder.feed(portion);
            } else {
                decoder.buffer().extend_from_slice(portion);
            }
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) => frames.push(frame.to_vec()),
                    Ok(None) => break,
                    Err(error) => {
                        assert!(error.announced > maximum);
                        failed = true;
                        break;
                    }
                }
            }
        }
        assert_eq!((frames, failed), expected);
    });
}

/// Returns the payloads of the complete frames in `stream`, and whether a larger frame follows, by the protocol's page.
fn split_by_definition(mut stream: &[u8], maximum: usize) -> (Vec<Vec<u8>>, bool) {
    let mut frames = Vec::new();
    while let Some((length, rest)) = stream.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        if length > maximum {
            return (frames, true);
        }
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        frames.push(payload.to_vec());
        stream = rest;
    }
    (frames, false)
}

#[test]
fn every_payload_is_a_request_or_a_short_error() {
    let requests: Vec<Vec<u8>> = every_request().iter().map(|request| serde_json::to_vec(request).unwrap()).collect();
    bolero::check!().for_each(|input: &[u8]| {
        let mut choices = Choices(input);
        let payload = match choices.byte() % 8 {
            0 => choices.0.to_vec(),
            1..4 => changed(&requests[choices.byte() % requests.len()], &mut choices),
            _ => structured(&mut choices),
        };
        for port in [Port::Accounts, Port::Shop] {
            match Request::decode(&payload, port) {
                Ok(request) => assert_reversible(&request, port),
                Err(error) => assert_short(&error),
            }
        }
    });
}

fn assert_reversible(request: &Request, port: Port) {
    let payload = serde_json::to_vec(request).unwrap();
    assert!(Request::decode(&payload, port).as_ref() == Ok(request));
    // The decoder's limit of a frame permits it.
    assert!(payload.len() <= port.max_request_bytes());
}

fn assert_short(error: &ErrorBody) {
    assert!((1..=601).contains(&error.message.chars().count()), "{error:?}");
    assert!(error.field.as_ref().is_none_or(|field| field.chars().count() <= 81), "{error:?}");
}

/// Returns the payload of a valid request with some bytes replaced, removed or inserted.
fn changed(payload: &[u8], choices: &mut Choices<'_>) -> Vec<u8> {
    let mut payload = payload.to_vec();
    for _ in 0..choices.byte() % 5 {
        let at = (choices.byte() << 8 | choices.byte()) % payload.len();
        match choices.byte() % 3 {
            0 => payload[at] = choices.byte() as u8,
            1 => drop(payload.remove(at)),
            _ => payload.insert(at, choices.of(br#"{}[]",:0-1e.\u "#)),
        }
        if payload.is_empty() {
            break;
        }
    }
    payload
}

const FIELDS: [&str; 22] = [
    "command",
    "username",
    "password",
    "token",
    "current_password",
    "new_password",
    "page",
    "page_size",
    "category",
    "product_id",
    "name",
    "description",
    "price_cents",
    "stock",
    "items",
    "idempotency_key",
    "order_id",
    "stars",
    "quantity",
    "Page",
    "",
    "\u{7f}",
];

/// Returns an object like a request, with fields of any type.
fn structured(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut json = String::from("{");
    if !choices.byte().is_multiple_of(16) {
        let _ = write!(json, r#""command":"{}""#, choices.of(Command::ALL).name());
    }
    for _ in 0..choices.byte() % 10 {
        if json.len() > 1 {
            json.push(',');
        }
        let name = choices.of(&FIELDS);
        let _ = write!(json, "{}:", serde_json::Value::from(name));
        value(choices, 0, &mut json);
    }
    json.push('}');
    json.into_bytes()
}

/// Appends a value: of a plausible type, at or beyond a bound, or nested.
fn value(choices: &mut Choices<'_>, depth: usize, json: &mut String) {
    const PLAIN: [&str; 24] = [
        "null",
        "true",
        "0",
        "-0",
        "1",
        "-1",
        "2",
        "5",
        "6",
        "100",
        "101",
        "1000000",
        "1000001",
        "4294967296",
        "9223372036854775807",
        "9223372036854775808",
        "1.0",
        "1e400",
        "1e2",
        r#""""#,
        r#""ann""#,
        r#""password-1""#,
        r#""\u0000""#,
        r#""\ud800""#,
    ];
    match choices.byte() % 32 {
        0..24 => json.push_str(choices.of(&PLAIN)),
        24 => drop(write!(json, "\"{}\"", "0123456789abcdef".repeat(4))),
        25 => drop(write!(json, "{}", serde_json::Value::from(String::from_utf8_lossy(choices.0)))),
        26 => drop(write!(json, "\"{}\"", "ä".repeat(choices.byte() * 9))),
        27 if depth < 12 => {
            json.push_str(r#"[{"product_id":"#);
            value(choices, depth + 2, json);
            json.push_str(r#","quantity":"#);
            value(choices, depth + 2, json);
            json.push_str("}]");
        }
        28..30 if depth < 12 => {
            let count = choices.byte() % 4 * if choices.byte().is_multiple_of(8) { 400 } else { 1 };
            json.push('[');
            for index in 0..count {
                json.push_str(if index > 0 { "," } else { "" });
                value(choices, depth + 1, json);
            }
            json.push(']');
        }
        _ if depth < 12 => {
            let _ = write!(json, "{{{}:", serde_json::Value::from(choices.of(&FIELDS)));
            value(choices, depth + 1, json);
            json.push('}');
        }
        _ => json.push('7'),
    }
}
