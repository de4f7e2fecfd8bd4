//! Fuzz target: lines of the agent's protocol. CONTRIBUTING.md says how to try more inputs.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::json_lines::{line_of, parse};
use crate::messages::{Event, FromAgent, Hello, Listening, Request, ToAgent};

#[test]
fn any_line_is_a_message_or_refused() {
    let start = Request::Start {
        id: 1,
        program: "sh".to_owned(),
        arguments: vec!["-c".to_owned()],
        environment: vec![("A".to_owned(), "b".to_owned())],
        has_stdin: true,
    };
    let hello = Hello { agent_id: 1, host: "h".to_owned(), version: "v".to_owned(), token: "secret".parse().unwrap() };
    let examples = [
        line_of(&ToAgent { to: 3, request: start }),
        line_of(&FromAgent { from: 1, event: Event::Stdout { id: 7, bytes: b"hello".to_vec() } }),
        line_of(&FromAgent { from: 1, event: Event::Exited { id: 7, code: -1 } }),
        line_of(&hello),
        line_of(&Listening { listening: ([127, 0, 0, 1], 7000).into() }),
    ]
    .map(Result::unwrap);
    bolero::check!().for_each(|input: &[u8]| {
        let line = match input.split_first() {
            Some((choice, rest)) if choice % 8 != 0 => {
                let mut line = examples[usize::from(*choice) % examples.len()].clone().into_bytes();
                for change in rest.chunks_exact(2).take(4) {
                    let at = usize::from(change[0]) % line.len();
                    line[at] = change[1];
                }
                line
            }
            _ => input.to_vec(),
        };
        let line = String::from_utf8_lossy(&line);
        check::<ToAgent>(&line);
        check::<FromAgent>(&line);
        check::<Hello>(&line);
        check::<Listening>(&line);
        check::<Event>(&line);
    });
}

/// Asserts that a message that is read is written and read as the same, and that an error is short.
fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(line: &str) {
    match parse::<T>(line) {
        Ok(message) => assert_eq!(parse::<T>(&line_of(&message).unwrap()).unwrap(), message),
        Err(error) => assert!(error.to_string().chars().count() < 200),
    }
}
