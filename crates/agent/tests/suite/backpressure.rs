//! Peers that do not read: no other peer is delayed, memory is bounded, and a `kill` is executed.

use std::fs;
use std::thread;
use std::time::Duration;

use agent::messages::{Event, FromAgent, MAX_LINE_BYTES, Request};
use nix::sys::signal::Signal;

use crate::fixture::{Hub, Owned, SILENCE, runs, script_request, start_request, stdout, wait_until, with_stdin};

/// Maximum memory of hub or agent, KiB. `yes` writes far more in a second.
const MAX_MEMORY_KIB: u64 = 100_000;

fn memory_kib(process: &Owned) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.0.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Returns the number of bytes that a process has written.
fn written(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap().parse().unwrap()
}

#[test]
fn a_driver_that_does_not_read_blocks_programs_but_can_still_kill_them() {
    let (mut hub, agent) = Hub::with_short_heartbeat();
    hub.request(1, with_stdin(start_request(1, "cat", &[])));
    wait_until("cat runs", || agent.process.children().len() == 1);
    let cat = agent.process.children()[0];
    hub.request(1, start_request(2, "yes", &["x".repeat(1_000).as_str()]));
    wait_until("yes runs", || agent.process.children().len() == 2);
    let yes = agent.process.children()[1];
    let mut before = 0;
    wait_until("yes is blocked by a full pipe", || {
        thread::sleep(Duration::from_millis(100));
        let now = written(yes);
        std::mem::replace(&mut before, now) == now && now > 0
    });
    for process in [&hub.process, &agent.process] {
        assert!(memory_kib(process) < MAX_MEMORY_KIB, "{} KiB", memory_kib(process));
    }
    // Not a wait for readiness: nothing must happen for longer than the timeout of the heartbeat.
    thread::sleep(SILENCE + SILENCE / 5);
    assert!(runs(yes) && runs(cat), "a slow driver counted as lost");
    let written = written(yes);
    hub.request(1, Request::CloseInput { id: 1 });
    wait_until("cat ends", || !runs(cat));
    hub.request(1, Request::Kill { id: 2 });
    wait_until("yes ends", || !runs(yes));
    // All bytes written before the kill arrive.
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
fn a_program_that_does_not_read_its_stdin_is_killed_and_its_stderr_says_why() {
    let (mut hub, _agent) = Hub::with_agent();
    hub.request(1, with_stdin(start_request(1, "sleep", &["1000"])));
    let text = "x".repeat(500_000);
    for _ in 0..20 {
        hub.request(1, Request::Input { id: 1, text: text.clone() });
    }
    let why = "testbed-agent: killed: stdin queue full, the program does not read its stdin\n";
    assert_eq!(hub.event(), Event::Stderr { id: 1, bytes: why.into() });
    assert_eq!(hub.event(), Event::Exited { id: 1, code: 137 });
}

#[test]
fn an_agent_that_does_not_read_is_lost_and_delays_no_other() {
    let (mut hub, agents) = Hub::with_agents(2);
    agents[0].process.signal(Signal::SIGSTOP);
    // The kernel buffers some megabytes before the hub's queue fills.
    let text = "x".repeat(MAX_LINE_BYTES - 1_000);
    for id in 1.. {
        hub.request(1, Request::Input { id, text: text.clone() });
        hub.request(2, script_request(id, "echo here"));
        let received = hub.next();
        if received.from == 1 {
            assert_eq!(received.event, Event::Lost);
            break;
        }
        assert_eq!(received, FromAgent { from: 2, event: stdout(id, "here") });
        assert_eq!(hub.next().event, Event::Exited { id, code: 0 });
        assert!(id < 1_000, "the queue never fills");
    }
    assert!(memory_kib(&hub.process) < MAX_MEMORY_KIB, "{} KiB", memory_kib(&hub.process));
}
