//! Programs: their streams, their stdin, their end.

use std::fs;

use agent::messages::{Event, Request};

use crate::fixture::{Agent, Hub, runs, script_request, start_request, stdout, wait_until, with_stdin};

/// A script's own process id, which it prints first.
fn printed_pid(hub: &mut Hub) -> u32 {
    let Event::Stdout { bytes, .. } = hub.event() else { panic!("not a line of stdout") };
    String::from_utf8(bytes).unwrap().parse().unwrap()
}

#[test]
fn a_program_says_all_it_has_to_say_before_its_exit_is_told() {
    let (mut hub, _agent) = Hub::with_agent();
    hub.start_script(1, "echo one; echo; printf 'tüw\\377'; exec >&-; echo oh >&2; exit 7");
    let events = hub.until_final(1);
    let lines: Vec<&Event> = events.iter().filter(|event| matches!(event, Event::Stdout { .. })).collect();
    assert_eq!(lines, [&stdout(1, "one"), &stdout(1, ""), &Event::Stdout { id: 1, bytes: b"t\xc3\xbcw\xff".into() }]);
    assert!(events.contains(&Event::Stderr { id: 1, bytes: "oh\n".into() }), "{events:?}");
    assert_eq!((events.len(), events.last()), (5, Some(&Event::Exited { id: 1, code: 7 })));
}

#[test]
fn it_runs_in_the_folder_with_its_own_variables_and_without_the_token() {
    let (mut hub, agent) = Hub::with_agent();
    let mut request = script_request(1, "echo \"$A $TESTBED_AGENT_HOST ${TESTBED_TOKEN-none}\"; pwd");
    if let Request::Start { environment, .. } = &mut request {
        environment.push(("A".into(), "b c".into()));
    }
    hub.ask(1, request);
    assert_eq!(hub.event(), stdout(1, "b c machine-1 none"));
    assert_eq!(hub.event(), stdout(1, agent.path("").canonicalize().unwrap().to_str().unwrap()));
    assert_eq!(hub.event(), Event::Exited { id: 1, code: 0 });
}

#[test]
fn lines_go_to_stdin_and_closing_it_comes_after_them() {
    let (mut hub, _agent) = Hub::with_agent();
    hub.ask(1, with_stdin(start_request(1, "cat", &[])));
    hub.ask(1, Request::Input { id: 1, text: "größer".into() });
    assert_eq!(hub.event(), stdout(1, "größer"));
    for line in ["", "last"] {
        hub.ask(1, Request::Input { id: 1, text: line.into() });
    }
    hub.ask(1, Request::CloseInput { id: 1 });
    assert_eq!(hub.until_final(1), [stdout(1, ""), stdout(1, "last"), Event::Exited { id: 1, code: 0 }]);
}

#[test]
fn without_stdin_a_program_finds_it_empty() {
    let (mut hub, _agent) = Hub::with_agent();
    hub.ask(1, start_request(1, "cat", &[]));
    hub.ask(1, Request::Input { id: 1, text: "not read by any program".into() });
    assert_eq!(hub.event(), Event::Exited { id: 1, code: 0 });
}

#[test]
fn a_kill_reaches_the_whole_process_group() {
    let (mut hub, agent) = Hub::with_agent();
    hub.start_script(1, "echo $$; sleep 1000 & echo $!; wait");
    let pids = [printed_pid(&mut hub), printed_pid(&mut hub)];
    assert_eq!(agent.process.children(), pids[..1]);
    hub.ask(1, Request::Kill { id: 1 });
    assert_eq!(hub.event(), Event::Exited { id: 1, code: 137 });
    wait_until("the group is gone", || !pids.into_iter().any(runs));
}

#[test]
fn what_a_program_leaves_in_its_group_goes_with_it() {
    let (mut hub, _agent) = Hub::with_agent();
    hub.start_script(1, "sleep 1000 & echo $!");
    let left = printed_pid(&mut hub);
    assert_eq!(hub.event(), Event::Exited { id: 1, code: 0 });
    wait_until("what was left is gone", || !runs(left));
}

#[test]
fn what_left_the_group_does_not_hold_up_the_exit() {
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
fn what_can_not_be_started_is_said() {
    let (mut hub, _agent) = Hub::with_agent();
    hub.ask(1, start_request(1, "no-such-program", &[]));
    assert_eq!(hub.failure(1), "cannot start `no-such-program`: No such file or directory (os error 2)");
    hub.ask(1, with_stdin(start_request(2, "cat", &[])));
    hub.ask(1, start_request(2, "cat", &[]));
    assert_eq!(hub.failure(2), "id 2 is that of a running program; choose another");
    hub.ask(1, Request::CloseInput { id: 2 });
    assert_eq!(hub.event(), Event::Exited { id: 2, code: 0 });
    for request in [Request::Kill { id: 2 }, Request::CloseInput { id: 9 }, Request::Input { id: 9, text: "".into() }] {
        hub.ask(1, request);
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
fn many_lines_come_in_their_order() {
    let (mut hub, _agent) = Hub::with_agent();
    hub.ask(1, start_request(1, "seq", &["20000"]));
    for agent_id in 1..=20_000 {
        assert_eq!(hub.event(), stdout(1, &agent_id.to_string()));
    }
    assert_eq!(hub.event(), Event::Exited { id: 1, code: 0 });
}

#[test]
fn a_reset_kills_all_programs_and_empties_the_folder() {
    let (mut hub, agent) = Hub::with_agent();
    fs::create_dir(agent.path("old")).unwrap();
    fs::write(agent.path("old/file"), "x").unwrap();
    hub.start_script(1, "echo $$; sleep 1000 & echo $!; wait");
    hub.start_script(2, "echo made > file; exec sleep 1000");
    let pids = [printed_pid(&mut hub), printed_pid(&mut hub)];
    wait_until("the file is there", || agent.path("file").exists());
    hub.ask(1, Request::Reset { id: 3 });
    let events = hub.until_final(3);
    for event in [Event::Exited { id: 1, code: 137 }, Event::Exited { id: 2, code: 137 }, Event::Done { id: 3 }] {
        assert!(events.contains(&event), "{events:?}");
    }
    assert_eq!(events.len(), 3);
    assert_eq!(fs::read_dir(agent.path("")).unwrap().count(), 0);
    wait_until("the groups are gone", || !pids.into_iter().any(runs));
    hub.start_script(4, "echo again");
    assert_eq!(hub.until_final(4), [stdout(4, "again"), Event::Exited { id: 4, code: 0 }]);
}

#[test]
fn a_hundred_agents_run_programs_at_once() {
    let (mut hub, _agents): (Hub, Vec<Agent>) = Hub::with_agents(100);
    for agent_id in 1..=100 {
        hub.ask(agent_id, script_request(5, "for i in 1 2 3; do echo $TESTBED_AGENT_ID; done"));
    }
    let mut lines = vec![0; 101];
    let mut exited = 0;
    while exited < 100 {
        let said = hub.next();
        match said.event {
            Event::Stdout { bytes, .. } => {
                assert_eq!(bytes, said.from.to_string().as_bytes());
                lines[said.from as usize] += 1;
            }
            Event::Exited { id: 5, code: 0 } => {
                assert_eq!(lines[said.from as usize], 3);
                exited += 1;
            }
            other => panic!("{other:?}"),
        }
    }
}
