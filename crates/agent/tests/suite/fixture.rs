//! A hub with the test as its driver, agents, and checks of processes.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use agent::messages::{Event, FromAgent, Listening, MAX_CHUNK_BYTES, Request, ToAgent};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_testbed-agent");
pub(crate) const TOKEN: &str = "the run's secret";

/// Timeout of everything, sufficient on an overloaded host.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// Silence after which the agent of [`Hub::with_short_heartbeat`] counts the hub as lost (default: 15 s).
pub(crate) const SILENCE: Duration = Duration::from_secs(1);

/// Child process that is killed at the end of its test.
pub(crate) struct Owned(pub(crate) Child);

impl Drop for Owned {
    fn drop(&mut self) {
        // Fails only if it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Owned {
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id() as i32), signal).unwrap();
    }

    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        wait_until("the program exits", || self.0.try_wait().unwrap().is_some());
        self.0.wait().unwrap().code()
    }

    /// Returns the process ids of the children.
    pub(crate) fn children(&self) -> Vec<u32> {
        let pid = self.0.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }
}

/// Turns chunks of stdout into events of one line each, which do not depend on how the stream was read.
#[derive(Default)]
struct LineCutter(HashMap<(u32, u64), Vec<u8>>);

impl LineCutter {
    fn cut(&mut self, FromAgent { from, event }: FromAgent) -> Vec<FromAgent> {
        let line = |id, bytes| FromAgent { from, event: Event::Stdout { id, bytes } };
        if let Event::Stdout { id, bytes } = event {
            assert!(bytes.len() <= MAX_CHUNK_BYTES);
            let partial = self.0.entry((from, id)).or_default();
            partial.extend(bytes);
            let mut lines: Vec<Vec<u8>> = partial.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            *partial = lines.pop().unwrap_or_default();
            return lines.into_iter().map(|bytes| line(id, bytes)).collect();
        }
        let ended = event.id().filter(|_| event.is_final());
        let rest = ended.and_then(|id| Some((id, self.0.remove(&(from, id))?))).filter(|(_, rest)| !rest.is_empty());
        rest.map(|(id, rest)| line(id, rest)).into_iter().chain([FromAgent { from, event }]).collect()
    }
}

/// Hub with the test as its driver. Events are read only when the test needs them.
pub(crate) struct Hub {
    pub(crate) process: Owned,
    pub(crate) address: String,
    stdin: Option<ChildStdin>,
    events: Receiver<FromAgent>,
    directory: TempDir,
}

impl Hub {
    pub(crate) fn start() -> Self {
        Self::start_at("127.0.0.1:0")
    }

    pub(crate) fn start_at(address: &str) -> Self {
        Self::start_with(address, &[])
    }

    fn start_with(address: &str, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let stderr = File::create(directory.path().join("stderr")).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(["hub", "--listen", address]).args(arguments).env("TESTBED_TOKEN", TOKEN);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let stdin = child.stdin.take();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().expect("the hub's first line").unwrap();
        let Listening { listening } = serde_json::from_str(&first).unwrap();
        let (sender, events) = sync_channel(0);
        thread::spawn(move || {
            let mut cutter = LineCutter::default();
            for line in lines.map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
                if cutter.cut(event).into_iter().any(|event| sender.send(event).is_err()) {
                    return;
                }
            }
        });
        Self { process: Owned(child), address: listening.to_string(), stdin, events, directory }
    }

    /// Returns a hub and its connected agents 1 to `count`.
    pub(crate) fn with_agents(count: u32) -> (Self, Vec<Agent>) {
        let mut hub = Self::start();
        let agents = (1..=count).map(|agent_id| Agent::start(&hub.address, agent_id)).collect();
        for _ in 0..count {
            let FromAgent { event, .. } = hub.next();
            assert!(matches!(event, Event::Connected { .. }), "{event:?}");
        }
        (hub, agents)
    }

    pub(crate) fn with_agent() -> (Self, Agent) {
        let (hub, mut agents) = Self::with_agents(1);
        (hub, agents.remove(0))
    }

    /// Returns a hub and agent 1, which counts the hub as lost after [`SILENCE`].
    pub(crate) fn with_short_heartbeat() -> (Self, Agent) {
        let interval_ms = (SILENCE / 5).as_millis().to_string();
        let heartbeat = ["--heartbeat-ms", interval_ms.as_str()];
        let mut hub = Self::start_with("127.0.0.1:0", &heartbeat);
        let agent = Agent::start_with(&hub.address, 1, TOKEN, &heartbeat);
        hub.assert_connected();
        (hub, agent)
    }

    pub(crate) fn write(&mut self, line: &str) {
        self.stdin.as_mut().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    pub(crate) fn request(&mut self, to: u32, request: Request) {
        self.write(&serde_json::to_string(&ToAgent { to, request }).unwrap());
    }

    /// Starts a script at agent 1.
    pub(crate) fn start_script(&mut self, id: u64, script: &str) {
        self.request(1, script_request(id, script));
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn next(&mut self) -> FromAgent {
        self.events.recv_timeout(TIMEOUT).unwrap_or_else(|error| panic!("no event ({error}):\n{}", self.stderr()))
    }

    /// Returns the next event, which must be from agent 1.
    pub(crate) fn event(&mut self) -> Event {
        let FromAgent { from, event } = self.next();
        assert_eq!(from, 1, "{event:?}");
        event
    }

    pub(crate) fn assert_connected(&mut self) {
        let event = self.event();
        assert!(matches!(event, Event::Connected { .. }), "{event:?}");
    }

    /// Returns the events of agent 1 up to the final one of `id`.
    pub(crate) fn until_final(&mut self, id: u64) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let event = self.event();
            let last = event.is_final() && (event.id() == Some(id) || event == Event::Lost);
            events.push(event);
            if last {
                return events;
            }
        }
    }

    /// Returns the reason of the next event, which must be `Failed` with this id from agent 1.
    pub(crate) fn failure(&mut self, id: u64) -> String {
        match self.event() {
            Event::Failed { id: failed, reason } if failed == id => reason,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.directory.path().join("stderr")).unwrap()
    }
}

/// Agent with its own directory.
pub(crate) struct Agent {
    pub(crate) process: Owned,
    directory: TempDir,
}

impl Agent {
    pub(crate) fn start(hub: &str, agent_id: u32) -> Self {
        Self::start_with(hub, agent_id, TOKEN, &[])
    }

    pub(crate) fn start_with(hub: &str, agent_id: u32, token: &str, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = command(hub, agent_id, token, directory.path());
        Self { process: Owned(command.args(arguments).spawn().unwrap()), directory }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// Returns the command of an agent with environment variables as in a Swarm.
pub(crate) fn command(hub: &str, agent_id: u32, token: &str, directory: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--hub", hub, "--work-dir"]).arg(directory);
    command.env("TESTBED_AGENT_ID", agent_id.to_string()).env("TESTBED_AGENT_HOST", format!("host-{agent_id}"));
    command.env("TESTBED_TOKEN", token).stdin(Stdio::null()).stderr(Stdio::null());
    command
}

pub(crate) fn script_request(id: u64, script: &str) -> Request {
    start_request(id, "sh", &["-c", script])
}

pub(crate) fn start_request(id: u64, program: &str, arguments: &[&str]) -> Request {
    let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    Request::Start { id, program: program.to_owned(), arguments, environment: Vec::new(), has_stdin: false }
}

pub(crate) fn with_stdin(mut request: Request) -> Request {
    if let Request::Start { has_stdin, .. } = &mut request {
        *has_stdin = true;
    }
    request
}

pub(crate) fn stdout(id: u64, line: &str) -> Event {
    Event::Stdout { id, bytes: line.into() }
}

/// Polls until `is_true` returns true.
pub(crate) fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !is_true() {
        assert!(Instant::now() < deadline, "{what}: not within {TIMEOUT:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Returns whether a process runs. A zombie does not.
pub(crate) fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}
