//! Programs: output, stdin, exit.

use std::fs;

use agent::messages::{Event, Request};

use crate::fixture::{Agent, Hub, runs, script_request, start_request, stdout, wait_until, with_stdin};

/// Returns the process id that a script prints.
fn printed_pid(hub: &mut Hub) -> u32 {
    let Event::Stdout { bytes, .. } = hub.event() else { panic!("not a line of stdout") };
    String::from_utf8(bytes).unwrap().parse().unwrap()
}

#[test]
fn all_output_of_a_program_arrives_before_its_exit() {
    let (mut hub, _agent) = Hub::with_agent();
    hub.start_script(1, "echo one; echo; printf 'tüw\\377'; exec >&-; echo oh >&2; exit 7");
    let events = hub.until_final(1);
    let lines: Vec<&Event> = events.iter().filter(|event| matches!(event, Event::Stdout { .. })).collect();
    assert_eq!(lines, [&stdout(1, "one"), &stdout(1, ""), &Event::Stdout { id: 1, bytes: b"t\xc3\xbcw\xff".into() }]);
    assert!(events.contains(&Event::Stderr { id: 1, bytes: "oh\n".into() }), "{events:?}");
    assert_eq!((events.len(), events.last()), (5, Some(&Event::Exited { id: 1, code: 7 })));
}

#[test]
fn a_program_runs_in_the_directory_with_its_environment_and_without_the_token() {
    let (mut hub, agent) = Hub::with_agent();
    let mut request = script_request(1, "echo \"$A $TESTBED_AGENT_HOST ${TESTBED_TOKEN-none}\"; pwd");
    if let Request::Start { environment, .. } = &mut request {
        environment.push(("A".into(), "b c".into()));
    }
    hub.request(1, request);
    assert_eq!(hub.event(), stdout(1, "b c host-1 none"));
    assert_eq!(hub.event(), stdout(1, agent.path("").canonicalize().unwrap().to_str().unwrap()));
    assert_eq!(hub.event(), Event::Exited { id: 1, code: 0 });
}

#[test]
fn stdin_is_closed_after_all_lines() {
    let (mut hub, _agent) = Hub::with_agent();
    hub.request(1, with_stdin(start_request(1, "cat", &[])));
    hub.request(1, Request::Input { id: 1, text: "größer".into() });
    assert_eq!(hub.event(), stdout(1, "größer"));
    for line in ["", "last"] {
        hub.request(1, Request::Input { id: 1, text: line.into() });
    }
    hub.request(1, Request::CloseInput { id: 1 });
    assert_eq!(hub.until_final(1), [stdout(1, ""), stdout(1, "last"), Event::Exited { id: 1, code: 0 }]);
}

#[test]
fn without_input_stdin_is_empty() {
    let (mut hub, _agent) = Hub::with_agent();
    hub.request(1, start_request(1, "cat", &[]));
    hub.request(1, Request::Input { id: 1, text: "not read by any program".into() });
    assert_eq!(hub.event(), Event::Exited { id: 1, code: 0 });
}

#[test]
fn a_kill_reaches_the_whole_process_group() {
    let (mut hub, agent) = Hub::with_agent();
    hub.start_script(1, "echo $$; sleep 1000 & echo $!; wait");
    let pids = [printed_pid(&mut hub), printed_pid(&mut hub)];
    assert_eq!(agent.process.children(), pids[..1]);
    hub.request(1, Request::Kill { id: 1 });
    assert_eq!(hub.event(), Event::Exited { id: 1, code: 137 });
    wait_until("the group is gone", || !pids.into_iter().any(runs));
}

#[test]
fn the_rest_of_the_process_group_is_killed_when_the_program_exits() {
    let (mut hub, _agent) = Hub::with_agent();
    hub.start_script(1, "sleep 1000 & echo $!");
    let left = printed_pid(&mut hub);
    assert_eq!(hub.event(), Event::Exited { id: 1, code: 0 });
    wait_until("the rest is gone", || !runs(left));
}

#[test]
fn a_process_outside_the_group_does_not_delay_the_exit() {
    let (mut hub, _agent) = Hub::with_agent();
    hub.start_script(
        1,
        "setsid sh -c 'echo $$; >left; exec sleep 1000' & until [ -e left ]; do sleep 0.01; done; exit 3",
    );
    let pid = printed_pid(&mut hub);
    assert_eq!(hub.event(), Event::Exited { id: 1, code: 3 });
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[test]
fn a_program_that_cannot_be_started_fails_with_the_reason() {
    let (mut hub, _agent) = Hub::with_agent();
    hub.request(1, start_request(1, "no-such-program", &[]));
    assert_eq!(hub.failure(1), "cannot start `no-such-program`: No such file or directory (os error 2)");
    hub.request(1, with_stdin(start_request(2, "cat", &[])));
    hub.request(1, start_request(2, "cat", &[]));
    assert_eq!(hub.failure(2), "id 2 belongs to a running program: use another");
    hub.request(1, Request::CloseInput { id: 2 });
    assert_eq!(hub.event(), Event::Exited { id: 2, code: 0 });
    for request in [Request::Kill { id: 2 }, Request::CloseInput { id: 9 }, Request::Input { id: 9, text: "".into() }] {
        hub.request(1, request);
    }
    hub.start_script(2, "echo the id is free again");
    assert_eq!(hub.until_final(2).len(), 2);
}

#[test]
fn a_line_longer_than_an_event_arrives_whole() {
    let (mut hub, _agent) = Hub::with_agent();
    hub.start_script(1, "head -c 500000 /dev/zero | tr '\\0' x; echo; echo short");
    assert!(hub.event() == stdout(1, &"x".repeat(500_000)));
    assert_eq!(hub.until_final(1), [stdout(1, "short"), Event::Exited { id: 1, code: 0 }]);
}

#[test]
fn many_lines_arrive_in_order() {
    let (mut hub, _agent) = Hub::with_agent();
    hub.request(1, start_request(1, "seq", &["20000"]));
    for agent_id in 1..=20_000 {
        assert_eq!(hub.event(), stdout(1, &agent_id.to_string()));
    }
    assert_eq!(hub.event(), Event::Exited { id: 1, code: 0 });
}

#[test]
fn a_reset_kills_all_programs_and_empties_the_directory() {
    let (mut hub, agent) = Hub::with_agent();
    fs::create_dir(agent.path("old")).unwrap();
    fs::write(agent.path("old/file"), "x").unwrap();
    hub.start_script(1, "echo $$; sleep 1000 & echo $!; wait");
    hub.start_script(2, "echo made > file; exec sleep 1000");
    let pids = [printed_pid(&mut hub), printed_pid(&mut hub)];
    wait_until("the file exists", || agent.path("file").exists());
    hub.request(1, Request::Reset { id: 3 });
    let events = hub.until_final(3);
    for event in [Event::Exited { id: 1, code: 137 }, Event::Exited { id: 2, code: 137 }, Event::Done { id: 3 }] {
        assert!(events.contains(&event), "{events:?}");
    }
    assert_eq!(events.len(), 3);
    assert_eq!(fs::read_dir(agent.path("")).unwrap().count(), 0);
    wait_until("the groups are gone", || !pids.into_iter().any(runs));
    hub.start_script(4, "echo next");
    assert_eq!(hub.until_final(4), [stdout(4, "next"), Event::Exited { id: 4, code: 0 }]);
}

#[test]
fn a_hundred_agents_run_programs_in_parallel() {
    let (mut hub, _agents): (Hub, Vec<Agent>) = Hub::with_agents(100);
    for agent_id in 1..=100 {
        hub.request(agent_id, script_request(5, "for i in 1 2 3; do echo $TESTBED_AGENT_ID; done"));
    }
    let mut lines = vec![0; 101];
    let mut exited = 0;
    while exited < 100 {
        let received = hub.next();
        match received.event {
            Event::Stdout { bytes, .. } => {
                assert_eq!(bytes, received.from.to_string().as_bytes());
                lines[received.from as usize] += 1;
            }
            Event::Exited { id: 5, code: 0 } => {
                assert_eq!(lines[received.from as usize], 3);
                exited += 1;
            }
            other => panic!("{other:?}"),
        }
    }
}
