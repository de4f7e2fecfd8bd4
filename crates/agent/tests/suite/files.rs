//! Files arrive intact or not at all.

use std::fs;

use agent::messages::{Event, MAX_CHUNK_BYTES, Request};

use crate::fixture::Hub;

fn get(hub: &mut Hub, path: &str) -> Vec<u8> {
    hub.request(1, Request::GetFile { id: 1, path: path.into() });
    let mut all = Vec::new();
    loop {
        match hub.event() {
            Event::File { id: 1, bytes, last } => {
                assert!(bytes.len() <= MAX_CHUNK_BYTES);
                all.extend(bytes);
                if last {
                    return all;
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_large_file_of_any_bytes_arrives_intact() {
    let (mut hub, agent) = Hub::with_agent();
    let content: Vec<u8> =
        (0..3_000_000_u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 16).to_le_bytes()).collect();
    fs::write(agent.path("large"), &content).unwrap();
    let absolute = agent.path("large").to_str().unwrap().to_owned();
    for path in ["large", absolute.as_str()] {
        assert!(get(&mut hub, path) == content, "{path} is not the same");
    }
}

#[test]
fn small_files_arrive_too() {
    let (mut hub, agent) = Hub::with_agent();
    for length in [0, 1, MAX_CHUNK_BYTES, MAX_CHUNK_BYTES + 1] {
        let content = vec![0xff; length];
        fs::write(agent.path("small"), &content).unwrap();
        assert!(get(&mut hub, "small") == content, "{length} bytes");
    }
}

#[test]
fn only_files_are_sent() {
    let (mut hub, agent) = Hub::with_agent();
    nix::unistd::mkfifo(&agent.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for (name, reason) in [
        ("missing", "No such file or directory (os error 2)"),
        ("pipe", "not a regular file"),
        ("", "not a regular file"),
    ] {
        hub.request(1, Request::GetFile { id: 1, path: name.into() });
        let why = hub.failure(1);
        let path = agent.path(name).canonicalize().unwrap_or_else(|_| agent.path(name));
        let expected = format!("cannot send the file {}", path.display());
        assert!(why.starts_with(&expected) && why.ends_with(reason), "{why}");
    }
}
