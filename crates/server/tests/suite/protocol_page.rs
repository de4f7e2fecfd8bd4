//! `docs/protocol.md` against the decoder: its examples are valid, its bounds and error codes complete.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use protocol::request::Command;
use protocol::response::{
    Categories, DecodeError, Done, Greeting, LoggedIn, OrderFound, OrderHistory, OrderPlaced, ProductAdded,
    ProductFound, Products, Registered,
};
use protocol::{ErrorCode, FrameDecoder, MAX_FRAME_BYTES, PROTOCOL_VERSION, Port, Request, Response, limits};
use serde::de::DeserializeOwned;

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocol.md");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the fenced blocks of a kind: the rest of their first line, and their text.
fn blocks(page: &str, kind: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(head) = line.strip_prefix("```") else { continue };
        let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if let Some(rest) = head.strip_prefix(kind) {
            found.push((rest.trim().to_owned(), text.join("\n")));
        }
    }
    assert!(!found.is_empty(), "no block of the kind '{kind}'");
    found
}

fn port(name: &str) -> Port {
    [Port::Accounts, Port::Shop].into_iter().find(|port| port.name() == name).unwrap_or_else(|| panic!("port '{name}'"))
}

fn decode(text: &[u8], port: Port) -> Request {
    let decoded = Request::decode(text, port);
    decoded.unwrap_or_else(|error| panic!("{}: {error}", String::from_utf8_lossy(text)))
}

#[test]
fn every_command_has_an_example_of_request_and_response() {
    let page = page();
    let mut requests = HashSet::new();
    for (port_name, text) in blocks(&page, "json request") {
        requests.insert(decode(text.as_bytes(), port(&port_name)).command());
    }
    let mut responses = HashSet::new();
    for (command, text) in blocks(&page, "json response") {
        check_result(&command, &text);
        responses.insert(command);
    }
    for command in Command::ALL.iter().map(|command| command.name()) {
        assert!(requests.contains(command) && responses.contains(command), "{command} lacks an example");
        assert!(page.contains(&format!("### {command}\n")), "{command} has no section");
    }
}

/// Checks that `text` is a response of `command`, without fields that the type does not have.
fn check_result(command: &str, text: &str) {
    fn check<T: DeserializeOwned + serde::Serialize>(text: &str) {
        let response: Response = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let result = response.result.clone().unwrap_or_else(|| panic!("{text}: no result"));
        let read: T = response.into_result().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(serde_json::to_value(read).unwrap(), result, "{text}");
    }
    match command {
        "hello" => check::<Greeting>(text),
        "register" => check::<Registered>(text),
        "login" => check::<LoggedIn>(text),
        "logout" | "change_password" | "submit_rating" => check::<Done>(text),
        "view_categories" => check::<Categories>(text),
        "view_products" => check::<Products>(text),
        "view_product" => check::<ProductFound>(text),
        "add_product" => check::<ProductAdded>(text),
        "place_order" => check::<OrderPlaced>(text),
        "view_order_history" => check::<OrderHistory>(text),
        "view_order" => check::<OrderFound>(text),
        other => panic!("unknown command '{other}'"),
    }
}

#[test]
fn the_example_of_an_error_is_an_error() {
    for (_, text) in blocks(&page(), "json error") {
        let response: Response = serde_json::from_str(&text).unwrap();
        assert!(matches!(response.into_result::<Done>(), Err(DecodeError::Refused(_))), "{text}");
    }
}

#[test]
fn the_frame_in_hexadecimal_is_a_frame() {
    for (kind, text) in blocks(&page(), "hex request") {
        let bytes: Vec<u8> = text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        let mut decoder = FrameDecoder::default();
        decoder.feed(&bytes);
        decode(decoder.next_frame().unwrap().expect("a complete frame"), port(&kind));
        assert!(!decoder.is_mid_frame());
    }
}

#[test]
fn the_frames_of_the_session_have_the_stated_lengths() {
    for (kind, text) in blocks(&page(), "session") {
        let mut command = "";
        for line in text.lines() {
            let mut parts = line.splitn(3, ' ');
            let (side, length, payload) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
            assert_eq!(usize::from_str_radix(length, 16).unwrap(), payload.len(), "{payload}");
            if side == ">" {
                command = decode(payload.as_bytes(), port(&kind)).command();
            } else if payload.starts_with(r#"{"ok":true"#) {
                check_result(command, payload);
            } else {
                let response: Response = serde_json::from_str(payload).unwrap();
                assert!(matches!(response.into_result::<Done>(), Err(DecodeError::Refused(_))), "{payload}");
            }
        }
    }
}

#[test]
fn the_page_has_every_error_code_and_every_bound() {
    let page = page();
    for code in ErrorCode::ALL {
        let name = code.name();
        assert!(page.contains(&format!("\n| `{name}` |")), "the table lacks {name}");
    }
    let range = |start: i64, end: i64| format!("{start}–{end}");
    let chars = |bound: &std::ops::RangeInclusive<usize>| format!("{}–{}", bound.start(), bound.end());
    let of = |bound: &std::ops::RangeInclusive<i64>| range(*bound.start(), *bound.end());
    for bound in [
        chars(&limits::USERNAME_CHARS) + " characters",
        chars(&limits::PASSWORD_BYTES) + " bytes",
        chars(&limits::NAME_CHARS) + " characters",
        chars(&limits::DESCRIPTION_CHARS) + " characters",
        chars(&limits::IDEMPOTENCY_KEY_CHARS) + " characters",
        chars(&limits::ORDER_ITEMS) + " objects",
        of(&limits::PRICE_CENTS),
        of(&limits::STOCK) + " units",
        of(&limits::QUANTITY) + " units",
        of(&limits::STARS),
        of(&limits::PAGE) + "; default 1",
        format!("{}; default {}", of(&limits::PAGE_SIZE), limits::DEFAULT_PAGE_SIZE),
        format!("{}; default {}", of(&limits::PAGE_SIZE), limits::DEFAULT_CATEGORIES_PAGE_SIZE),
        format!("version {PROTOCOL_VERSION} of the protocol"),
        format!("{} hexadecimal digits", limits::TOKEN_CHARS.start()),
        format!("from 1 to {}", limits::ID.end()),
        format!("| accounts | {} |", limits::ACCOUNTS_PORT),
        format!("| shop | {} |", limits::SHOP_PORT),
    ] {
        assert!(page.contains(&bound), "the page lacks '{bound}'");
    }
    let sizes = [limits::ACCOUNTS_REQUEST_BYTES, limits::SHOP_REQUEST_BYTES, MAX_FRAME_BYTES];
    assert_eq!(sizes, [16_384, 65_536, 1_048_576], "the page states 16 384, 65 536 and 1 048 576");
}
