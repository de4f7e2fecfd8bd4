//! The lines on the wire.

use std::fmt::Debug;

use serde::de::DeserializeOwned;

use super::*;

fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(message: T, line: &str) {
    assert_eq!(serde_json::to_string(&message).unwrap(), line);
    assert_eq!(serde_json::from_str::<T>(line).unwrap(), message);
}

fn text(text: &str) -> String {
    text.to_owned()
}

#[test]
fn requests_round_trip_as_json_lines() {
    let start = Request::Start {
        id: 1,
        program: text("sh"),
        arguments: vec![text("-c"), text("echo \"ü\"")],
        environment: vec![(text("A"), text("1"))],
        has_stdin: true,
    };
    for (request, line) in [
        (
            start,
            r#"{"request":"start","id":1,"program":"sh","arguments":["-c","echo \"ü\""],"environment":[["A","1"]],"has_stdin":true}"#,
        ),
        (Request::Input { id: 2, text: text("go") }, r#"{"request":"input","id":2,"text":"go"}"#),
        (Request::CloseInput { id: 3 }, r#"{"request":"close_input","id":3}"#),
        (Request::Kill { id: 4 }, r#"{"request":"kill","id":4}"#),
        (Request::GetFile { id: 5, path: text("/a b") }, r#"{"request":"get_file","id":5,"path":"/a b"}"#),
        (Request::Reset { id: u64::MAX }, r#"{"request":"reset","id":18446744073709551615}"#),
    ] {
        check(ToAgent { to: 7, request: request.clone() }, &format!(r#"{{"to":7,"request":{line}}}"#));
        check(request, line);
    }
}

#[test]
fn events_round_trip_as_json_lines() {
    for (event, line) in [
        (
            Event::Connected { host: text("pi"), version: text("1 (x)") },
            r#"{"event":"connected","host":"pi","version":"1 (x)"}"#,
        ),
        (Event::Lost, r#"{"event":"lost"}"#),
        (Event::Stdout { id: 1, bytes: b"a\n\xff".into() }, r#"{"event":"stdout","id":1,"bytes":"YQr/"}"#),
        (Event::Stderr { id: 1, bytes: b"oh\n".into() }, r#"{"event":"stderr","id":1,"bytes":"b2gK"}"#),
        (Event::Exited { id: 1, code: 137 }, r#"{"event":"exited","id":1,"code":137}"#),
        (Event::Failed { id: 1, reason: text("no") }, r#"{"event":"failed","id":1,"reason":"no"}"#),
        (Event::File { id: 1, bytes: Vec::new(), last: true }, r#"{"event":"file","id":1,"bytes":"","last":true}"#),
        (Event::Done { id: 1 }, r#"{"event":"done","id":1}"#),
    ] {
        check(FromAgent { from: 7, event: event.clone() }, &format!(r#"{{"from":7,"event":{line}}}"#));
        check(event, line);
    }
}

#[test]
fn the_first_lines_round_trip_too() {
    check(Listening { listening: SocketAddr::from(([10, 0, 0, 1], 7_000)) }, r#"{"listening":"10.0.0.1:7000"}"#);
    let hello = Hello { agent_id: 3, host: text("pi"), version: text("1"), token: "secret".parse().unwrap() };
    check(hello, r#"{"agent_id":3,"host":"pi","version":"1","token":"secret"}"#);
}

#[test]
fn invalid_messages_are_rejected() {
    for line in ["", "{}", r#"{"to":7}"#, r#"{"to":-1,"request":{"request":"kill","id":1}}"#] {
        assert!(serde_json::from_str::<ToAgent>(line).is_err(), "{line}");
    }
    for line in [r#"{"request":"dance","id":1}"#, r#"{"request":"kill"}"#, r#"{"request":"kill","id":1,"signal":9}"#] {
        assert!(serde_json::from_str::<Request>(line).is_err(), "{line}");
    }
    for bytes in ["YQ", "Y", "ü", "Y Q="] {
        let line = format!(r#"{{"event":"stdout","id":1,"bytes":"{bytes}"}}"#);
        assert!(serde_json::from_str::<Event>(&line).is_err(), "{line}");
    }
}

#[test]
fn the_longest_event_fits_a_line() {
    let event = Event::File { id: u64::MAX, bytes: vec![0xff; MAX_CHUNK_BYTES], last: false };
    let line = serde_json::to_string(&FromAgent { from: u32::MAX, event }).unwrap();
    assert!(line.len() < MAX_LINE_BYTES, "{}", line.len());
}
