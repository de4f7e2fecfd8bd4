//! Who connects, who is refused, and what is left when either end goes.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use agent::messages::{Event, FromAgent, Request};
use nix::sys::signal::Signal;

use crate::fixture::{Agent, Hub, Owned, TOKEN, command, runs, script_request, stdout, wait_until};

/// Starts a script at agent 1 that runs until killed, and says which process it is.
fn lasting(hub: &mut Hub, agent: &Agent) -> u32 {
    hub.start_script(1, "echo x > file; echo started; exec sleep 1000");
    assert_eq!(hub.event(), stdout(1, "started"));
    let children = agent.process.children();
    assert!(children.len() == 1 && runs(children[0]), "{children:?}");
    children[0]
}

#[test]
fn an_agent_says_where_and_which_it_is() {
    let mut hub = Hub::start();
    let _agent = Agent::start(&hub.address, 1);
    let version = protocol::VERSION.to_owned();
    assert_eq!(hub.next(), FromAgent { from: 1, event: Event::Connected { host: "machine-1".into(), version } });
}

// Where a test takes a port again after its hub, it has an address of its own, so that no other test gets the port
// meanwhile.

#[test]
fn an_agent_waits_for_a_hub_that_comes_later() {
    let address = Hub::start_at("127.0.0.2:0").address.clone();
    let _agent = Agent::start(&address, 1);
    let mut hub = Hub::start_at(&address);
    hub.assert_hello();
}

#[test]
fn when_the_hub_is_killed_programs_and_files_go_and_the_agent_finds_the_next_hub() {
    let mut hub = Hub::start_at("127.0.0.3:0");
    let agent = Agent::start(&hub.address, 1);
    hub.assert_hello();
    let child = lasting(&mut hub, &agent);
    let address = hub.address.clone();
    hub.process.signal(Signal::SIGKILL);
    drop(hub);
    wait_until("the program is gone", || !runs(child));
    let mut hub = Hub::start_at(&address);
    hub.assert_hello();
    assert!(!agent.path("file").exists());
    hub.start_script(1, "echo again");
    assert_eq!(hub.until_final(1), [stdout(1, "again"), Event::Exited { id: 1, code: 0 }]);
}

#[test]
fn a_hub_that_is_silent_is_gone() {
    let (mut hub, agent) = Hub::with_impatient_agent();
    let child = lasting(&mut hub, &agent);
    hub.process.signal(Signal::SIGSTOP);
    wait_until("the program is gone", || !runs(child));
    hub.process.signal(Signal::SIGCONT);
    assert_eq!(hub.event(), Event::Lost);
    hub.assert_hello();
}

#[test]
fn when_an_agent_is_killed_it_is_lost_and_its_programs_are_gone() {
    let (mut hub, agent) = Hub::with_agent();
    let child = lasting(&mut hub, &agent);
    agent.process.signal(Signal::SIGKILL);
    assert_eq!(hub.event(), Event::Lost);
    wait_until("the program is gone", || !runs(child));
}

#[test]
fn an_agent_ends_at_once_and_well_when_told() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (mut hub, mut agent) = Hub::with_agent();
        let child = lasting(&mut hub, &agent);
        agent.process.signal(signal);
        assert_eq!(agent.process.exit_code(), Some(0), "{signal}");
        assert_eq!(hub.event(), Event::Lost);
        wait_until("the program is gone", || !runs(child));
    }
}

#[test]
fn an_agent_without_a_hub_ends_at_once_too() {
    let hub = Hub::start();
    let folder = tempfile::tempdir().unwrap();
    let mut agent = command("no-such-host.invalid:1", 1, TOKEN, folder.path());
    let mut agent = Owned(agent.stderr(Stdio::piped()).spawn().unwrap());
    // It has said that it can't connect: from now on it only tries.
    let mut first = [0];
    agent.0.stderr.as_mut().unwrap().read_exact(&mut first).unwrap();
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.exit_code(), Some(0));
    drop(hub);
}

#[test]
fn a_wrong_token_is_refused_and_noted() {
    let mut hub = Hub::start();
    let _stranger = Agent::start_with(&hub.address, 1, "guessed", &[]);
    let refused = "it says it is agent 1, but has a wrong token";
    wait_until("a note of the refusal", || hub.stderr().contains(refused));
    let _agent = Agent::start(&hub.address, 2);
    assert_eq!(hub.next().from, 2);
    assert!(!hub.stderr().contains("guessed") && !hub.stderr().contains(TOKEN), "{}", hub.stderr());
}

#[test]
fn what_is_no_introduction_is_refused() {
    let hub = Hub::start();
    let endless = "x".repeat(100_000);
    for line in ["GET / HTTP/1.1\n", "{}\n", "\n\nnull\n", endless.as_str()] {
        let mut stream = TcpStream::connect(&hub.address).unwrap();
        // The hub may close the connection before all is written.
        let _ = stream.write_all(line.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert_eq!(answer, b"");
    }
    wait_until("notes of the refusals", || hub.stderr().matches("refused").count() == 4);
}

#[test]
fn a_second_agent_with_the_same_number_takes_the_place_of_the_first() {
    let (mut hub, mut first) = Hub::with_agent();
    let child = lasting(&mut hub, &first);
    // Stopped, as a host that is about to vanish: it would fight for its place.
    first.process.signal(Signal::SIGSTOP);
    let second = Agent::start(&hub.address, 1);
    assert_eq!(hub.event(), Event::Lost);
    hub.assert_hello();
    hub.start_script(2, "touch here; echo here");
    assert_eq!(hub.until_final(2), [stdout(2, "here"), Event::Exited { id: 2, code: 0 }]);
    assert!(second.path("here").exists());
    first.process.signal(Signal::SIGTERM);
    first.process.signal(Signal::SIGCONT);
    assert_eq!(first.process.exit_code(), Some(0));
    wait_until("the first one's program is gone", || !runs(child));
}

#[test]
fn requests_to_an_agent_that_is_not_connected_fail_at_once() {
    let mut hub = Hub::start();
    for request in [Request::Input { id: 1, text: "x".into() }, Request::CloseInput { id: 1 }, Request::Kill { id: 1 }]
    {
        hub.ask(1, request);
    }
    let get = Request::GetFile { id: 2, path: "x".into() };
    for request in [get, script_request(2, "echo x"), Request::Reset { id: 2 }] {
        hub.ask(1, request);
        assert_eq!(hub.failure(2), "agent 1 is not connected");
    }
}

#[test]
fn the_hub_ends_well_with_its_stdin_and_takes_the_programs_with_it() {
    let (mut hub, agent) = Hub::with_agent();
    let child = lasting(&mut hub, &agent);
    hub.close_stdin();
    assert_eq!(hub.process.exit_code(), Some(0));
    wait_until("the program is gone", || !runs(child));
    wait_until("the directory is empty", || fs::read_dir(agent.path("")).unwrap().count() == 0);
}

#[test]
fn a_line_that_is_no_request_ends_the_hub_with_the_reason() {
    let mut hub = Hub::start();
    hub.write(r#"{"to":1,"request":"dance"}"#);
    assert_eq!(hub.process.exit_code(), Some(1));
    assert!(hub.stderr().contains(r#"stdin: the line `{"to":1,"request":"dance"}` is not what is expected"#));
}
