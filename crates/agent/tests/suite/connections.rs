//! Connections: accepted, rejected, and cleaned up when either end is lost.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use agent::messages::{Event, FromAgent, Request};
use nix::sys::signal::Signal;

use crate::fixture::{Agent, Hub, Owned, TOKEN, command, runs, script_request, stdout, wait_until};

/// Starts a script at agent 1 that runs until killed, and returns its process id.
fn start_endless(hub: &mut Hub, agent: &Agent) -> u32 {
    hub.start_script(1, "echo x > file; echo started; exec sleep 1000");
    assert_eq!(hub.event(), stdout(1, "started"));
    let children = agent.process.children();
    assert!(children.len() == 1 && runs(children[0]), "{children:?}");
    children[0]
}

#[test]
fn an_agent_reports_its_host_and_version() {
    let mut hub = Hub::start();
    let _agent = Agent::start(&hub.address, 1);
    let version = protocol::VERSION.to_owned();
    assert_eq!(hub.next(), FromAgent { from: 1, event: Event::Connected { host: "host-1".into(), version } });
}

// A test that binds its hub's port a second time uses a separate address: no other test can take the port in between.

#[test]
fn an_agent_connects_to_a_hub_that_starts_later() {
    let address = Hub::start_at("127.0.0.2:0").address.clone();
    let _agent = Agent::start(&address, 1);
    let mut hub = Hub::start_at(&address);
    hub.assert_connected();
}

#[test]
fn when_the_hub_is_killed_programs_and_files_are_removed_and_the_agent_connects_to_the_next_hub() {
    let mut hub = Hub::start_at("127.0.0.3:0");
    let agent = Agent::start(&hub.address, 1);
    hub.assert_connected();
    let child = start_endless(&mut hub, &agent);
    let address = hub.address.clone();
    hub.process.signal(Signal::SIGKILL);
    drop(hub);
    wait_until("the program is gone", || !runs(child));
    let mut hub = Hub::start_at(&address);
    hub.assert_connected();
    assert!(!agent.path("file").exists());
    hub.start_script(1, "echo next");
    assert_eq!(hub.until_final(1), [stdout(1, "next"), Event::Exited { id: 1, code: 0 }]);
}

#[test]
fn a_hub_without_heartbeats_is_lost() {
    let (mut hub, agent) = Hub::with_short_heartbeat();
    let child = start_endless(&mut hub, &agent);
    hub.process.signal(Signal::SIGSTOP);
    wait_until("the program is gone", || !runs(child));
    hub.process.signal(Signal::SIGCONT);
    assert_eq!(hub.event(), Event::Lost);
    hub.assert_connected();
}

#[test]
fn when_an_agent_is_killed_it_is_lost_and_its_programs_are_killed() {
    let (mut hub, agent) = Hub::with_agent();
    let child = start_endless(&mut hub, &agent);
    agent.process.signal(Signal::SIGKILL);
    assert_eq!(hub.event(), Event::Lost);
    wait_until("the program is gone", || !runs(child));
}

#[test]
fn an_agent_exits_with_0_at_a_signal() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (mut hub, mut agent) = Hub::with_agent();
        let child = start_endless(&mut hub, &agent);
        agent.process.signal(signal);
        assert_eq!(agent.process.exit_code(), Some(0), "{signal}");
        assert_eq!(hub.event(), Event::Lost);
        wait_until("the program is gone", || !runs(child));
    }
}

#[test]
fn an_agent_without_a_hub_exits_too() {
    let hub = Hub::start();
    let directory = tempfile::tempdir().unwrap();
    let mut agent = command("no-such-host.invalid:1", 1, TOKEN, directory.path());
    let mut agent = Owned(agent.stderr(Stdio::piped()).spawn().unwrap());
    // Its first warning shows that it is past its start.
    let mut first = [0];
    agent.0.stderr.as_mut().unwrap().read_exact(&mut first).unwrap();
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.exit_code(), Some(0));
    drop(hub);
}

#[test]
fn a_wrong_token_is_rejected_with_a_warning() {
    let mut hub = Hub::start();
    let _stranger = Agent::start_with(&hub.address, 1, "guessed", &[]);
    let rejected = "wrong token from agent 1";
    wait_until("a warning", || hub.stderr().contains(rejected));
    let _agent = Agent::start(&hub.address, 2);
    assert_eq!(hub.next().from, 2);
    assert!(!hub.stderr().contains("guessed") && !hub.stderr().contains(TOKEN), "{}", hub.stderr());
}

#[test]
fn an_invalid_hello_is_rejected() {
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
    wait_until("warnings", || hub.stderr().matches("rejected").count() == 4);
}

#[test]
fn a_second_agent_with_the_same_number_replaces_the_first() {
    let (mut hub, mut first) = Hub::with_agent();
    let child = start_endless(&mut hub, &first);
    // Stopped, like a vanishing host: otherwise it would reconnect and replace the second.
    first.process.signal(Signal::SIGSTOP);
    let second = Agent::start(&hub.address, 1);
    assert_eq!(hub.event(), Event::Lost);
    hub.assert_connected();
    hub.start_script(2, "touch here; echo here");
    assert_eq!(hub.until_final(2), [stdout(2, "here"), Event::Exited { id: 2, code: 0 }]);
    assert!(second.path("here").exists());
    first.process.signal(Signal::SIGTERM);
    first.process.signal(Signal::SIGCONT);
    assert_eq!(first.process.exit_code(), Some(0));
    wait_until("the program of the first is gone", || !runs(child));
}

#[test]
fn requests_to_an_agent_that_is_not_connected_fail_immediately() {
    let mut hub = Hub::start();
    for request in [Request::Input { id: 1, text: "x".into() }, Request::CloseInput { id: 1 }, Request::Kill { id: 1 }]
    {
        hub.request(1, request);
    }
    let get = Request::GetFile { id: 2, path: "x".into() };
    for request in [get, script_request(2, "echo x"), Request::Reset { id: 2 }] {
        hub.request(1, request);
        assert_eq!(hub.failure(2), "agent 1 is not connected");
    }
}

#[test]
fn the_hub_exits_with_0_when_stdin_closes_and_all_programs_are_killed() {
    let (mut hub, agent) = Hub::with_agent();
    let child = start_endless(&mut hub, &agent);
    hub.close_stdin();
    assert_eq!(hub.process.exit_code(), Some(0));
    wait_until("the program is gone", || !runs(child));
    wait_until("the directory is empty", || fs::read_dir(agent.path("")).unwrap().count() == 0);
}

#[test]
fn an_invalid_request_ends_the_hub_with_an_error() {
    let mut hub = Hub::start();
    hub.write(r#"{"to":1,"request":"dance"}"#);
    assert_eq!(hub.process.exit_code(), Some(1));
    assert!(hub.stderr().contains(r#"stdin: invalid line `{"to":1,"request":"dance"}`"#));
}
