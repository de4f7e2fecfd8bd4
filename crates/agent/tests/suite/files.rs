//! Files come as they are, or not at all.

use std::fs;

use agent::messages::{Event, MAX_TEXT_BYTES, Request};

use crate::fixture::Hub;

fn get(hub: &mut Hub, path: &str) -> String {
    hub.ask(1, Request::GetFile { id: 1, path: path.into() });
    let mut all = String::new();
    loop {
        match hub.event() {
            Event::File { id: 1, text, last } => {
                assert!(text.len() <= MAX_TEXT_BYTES);
                all += &text;
                if last {
                    return all;
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_large_file_with_long_characters_comes_intact() {
    let (mut hub, agent) = Hub::with_agent();
    // Characters of all lengths at all offsets, and what JSON must escape.
    let text: String = (0..400_000).map(|n| format!("{n},ü€🦀\"\\\t\n")).collect();
    assert!(text.len() > 6_000_000);
    fs::write(agent.path("large.csv"), &text).unwrap();
    let absolute = agent.path("large.csv").to_str().unwrap().to_owned();
    for path in ["large.csv", absolute.as_str()] {
        assert!(get(&mut hub, path) == text, "{path} is not the same");
    }
}

#[test]
fn small_files_come_too() {
    let (mut hub, agent) = Hub::with_agent();
    for text in ["".to_owned(), "x".to_owned(), "x".repeat(MAX_TEXT_BYTES), "\u{1}".repeat(MAX_TEXT_BYTES + 1)] {
        fs::write(agent.path("small"), &text).unwrap();
        assert!(get(&mut hub, "small") == text, "{} bytes", text.len());
    }
}

#[test]
fn what_is_no_file_of_text_is_refused() {
    let (mut hub, agent) = Hub::with_agent();
    fs::write(agent.path("middle"), b"ok\xffok").unwrap();
    fs::write(agent.path("cut"), &"ab€".as_bytes()[..4]).unwrap();
    nix::unistd::mkfifo(&agent.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for (name, reason) in [
        ("middle", "byte 2 is not UTF-8; only text can be sent"),
        ("cut", "byte 2 is not UTF-8; only text can be sent"),
        ("missing", "No such file or directory (os error 2)"),
        ("pipe", "it is not a file"),
        ("", "it is not a file"),
    ] {
        hub.ask(1, Request::GetFile { id: 1, path: name.into() });
        // What stands before the bad byte may have been sent.
        let Some(Event::Failed { id: 1, why }) = hub.until_final(1).pop() else { panic!("{name} did not fail") };
        let path = agent.path(name).canonicalize().unwrap_or_else(|_| agent.path(name));
        let expected = format!("cannot send the file {}", path.display());
        assert!(why.starts_with(&expected) && why.ends_with(reason), "{why}");
    }
}
