//! Peers that do not read: no other peer is delayed, memory is bounded, and what ends the jam gets through.

use std::fs;
use std::thread;
use std::time::Duration;

use agent::messages::{Event, FromAgent, MAX_LINE_BYTES, Request};
use nix::sys::signal::Signal;

use crate::fixture::{Hub, Owned, SILENCE, runs, script_request, start_request, stdout, wait_until, with_stdin};

/// Most memory that hub or agent may take, in KiB; what `yes` writes in a second is far more.
const MEMORY_KIB: u64 = 100_000;

fn memory_kib(process: &Owned) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.0.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Bytes that a process has written so far.
fn written(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap().parse().unwrap()
}

#[test]
fn a_driver_that_does_not_read_stops_programs_but_can_still_end_them() {
    let (mut hub, agent) = Hub::with_impatient_agent();
    hub.ask(1, with_stdin(start_request(1, "cat", &[])));
    wait_until("cat runs", || agent.process.children().len() == 1);
    let cat = agent.process.children()[0];
    hub.ask(1, start_request(2, "yes", &["x".repeat(1_000).as_str()]));
    wait_until("yes runs", || agent.process.children().len() == 2);
    let yes = agent.process.children()[1];
    let mut before = 0;
    wait_until("yes is stopped by a full pipe", || {
        thread::sleep(Duration::from_millis(100));
        let now = written(yes);
        std::mem::replace(&mut before, now) == now && now > 0
    });
    for process in [&hub.process, &agent.process] {
        assert!(memory_kib(process) < MEMORY_KIB, "{} KiB", memory_kib(process));
    }
    // Not a wait for something: for longer than silence is borne, nothing must happen.
    thread::sleep(SILENCE + SILENCE / 5);
    assert!(runs(yes) && runs(cat), "a slow driver was taken for a lost one");
    let written = written(yes);
    hub.ask(1, Request::CloseInput { id: 1 });
    wait_until("cat ends", || !runs(cat));
    hub.ask(1, Request::Kill { id: 2 });
    wait_until("yes ends", || !runs(yes));
    // What it wrote before is still all there.
    let (mut bytes, mut exited) = (0, Vec::new());
    while exited.len() < 2 {
        match hub.event() {
            Event::Stdout { id: 2, bytes: line } => bytes += line.len() as u64 + 1,
            Event::Exited { id, code } => exited.push((id, code)),
            other => panic!("{other:?}"),
        }
    }
    exited.sort_unstable();
    assert_eq!(exited, [(1, 0), (2, 137)]);
    assert!(bytes >= written, "{bytes} of {written} bytes");
}

#[test]
fn a_program_that_does_not_read_its_stdin_is_killed_and_it_is_said_why() {
    let (mut hub, _agent) = Hub::with_agent();
    hub.ask(1, with_stdin(start_request(1, "sleep", &["1000"])));
    let text = "x".repeat(500_000);
    for _ in 0..20 {
        hub.ask(1, Request::Input { id: 1, text: text.clone() });
    }
    let why = "testbed-agent: killed: it does not read its stdin, and too many lines wait for it\n";
    assert_eq!(hub.event(), Event::Stderr { id: 1, bytes: why.into() });
    assert_eq!(hub.event(), Event::Exited { id: 1, code: 137 });
}

#[test]
fn an_agent_that_does_not_read_is_lost_and_holds_up_nobody() {
    let (mut hub, agents) = Hub::with_agents(2);
    agents[0].process.signal(Signal::SIGSTOP);
    // The kernel's buffers take some megabytes before the hub's own queue fills.
    let text = "x".repeat(MAX_LINE_BYTES - 1_000);
    for id in 1.. {
        hub.ask(1, Request::Input { id, text: text.clone() });
        hub.ask(2, script_request(id, "echo here"));
        let said = hub.next();
        if said.from == 1 {
            assert_eq!(said.event, Event::Lost);
            break;
        }
        assert_eq!(said, FromAgent { from: 2, event: stdout(id, "here") });
        assert_eq!(hub.next().event, Event::Exited { id, code: 0 });
        assert!(id < 1_000, "the hub takes everything");
    }
    assert!(memory_kib(&hub.process) < MEMORY_KIB, "{} KiB", memory_kib(&hub.process));
}
