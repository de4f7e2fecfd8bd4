//! The driver's connection to the hub: starts programs in client nodes through their agents, and reads their output.

mod call;
mod routing;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use agent::messages::{Event, FromAgent, Listening, Request, ToAgent};
use anyhow::{Context, bail};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::backend::node_process::{LineSender, NodeProcess};
use crate::backend::{CommandOutput, NodeCommand};
use call::{Call, follow, forward_stdin};
use routing::{AgentState, Routing, lock};

/// Maximum number of unread lines of a program's stdout.
const MAX_UNREAD_LINES: usize = 1_024;
/// Buffer for a program's stdin, bytes.
const STDIN_BYTES: usize = 64 * 1024;
/// Timeout until the hub listens.
const START_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(20);

/// A running hub. Dropping it ends the hub and all programs that were started through it.
pub(super) struct Hub {
    routing: Arc<Mutex<Routing>>,
    requests: mpsc::UnboundedSender<ToAgent>,
    /// Number of changes of the agents' states.
    changes: watch::Receiver<u64>,
    pump: JoinHandle<()>,
}

/// Changes of the agents' states since [`Hub::changes`].
pub(super) struct AgentChanges {
    routing: Arc<Mutex<Routing>>,
    changes: watch::Receiver<u64>,
}

impl AgentChanges {
    /// Waits until an agent connects or is lost.
    ///
    /// # Errors
    /// When the hub has ended.
    pub(super) async fn next(&mut self) -> anyhow::Result<()> {
        // The sender lives as long as the pump.
        self.changes.changed().await.map_err(|_| lock(&self.routing).ended())
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        // The task owns the hub's process, whose closed stdin ends the hub.
        self.pump.abort();
    }
}

impl Hub {
    /// Waits until a newly started hub listens.
    pub(super) async fn new(mut process: NodeProcess) -> anyhow::Result<Self> {
        let _: Listening = process.first_event(START_TIMEOUT).await.context("starting the hub")?;
        let routing = Arc::new(Mutex::new(Routing::default()));
        let (requests, queued) = mpsc::unbounded_channel();
        let (change_sender, changes) = watch::channel(0);
        let pump = tokio::spawn(pump(process, queued, Arc::clone(&routing), change_sender));
        Ok(Self { routing, requests, changes, pump })
    }

    /// Returns all agents that have connected at least once.
    pub(super) fn agents(&self) -> HashMap<u32, AgentState> {
        lock(&self.routing).agents.clone()
    }

    /// Returns the changes of the agents' states from now on.
    pub(super) fn changes(&self) -> AgentChanges {
        let mut changes = self.changes.clone();
        changes.mark_unchanged();
        AgentChanges { routing: Arc::clone(&self.routing), changes }
    }

    /// Runs a command and waits for its end.
    pub(super) async fn run(&self, agent: u32, command: &NodeCommand) -> anyhow::Result<CommandOutput> {
        let mut call = self.call(agent, |id| start(id, command, false))?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            match call.next().await? {
                Event::Stdout { bytes, .. } => stdout.extend(bytes),
                Event::Stderr { bytes, .. } => stderr.extend(bytes),
                Event::Exited { code, .. } => {
                    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                    return Ok(CommandOutput { code, stdout: text(stdout), stderr: text(stderr) });
                }
                other => bail!("unexpected event {other:?}"),
            }
        }
    }

    /// Starts a command, and writes its stderr to the file `log`.
    pub(super) async fn spawn(&self, agent: u32, command: &NodeCommand, log: &Path) -> anyhow::Result<NodeProcess> {
        let log =
            tokio::fs::File::options().create(true).append(true).open(log).await.context("opening its log file")?;
        let call = self.call(agent, |id| start(id, command, true))?;
        let (sender, lines) = mpsc::channel(MAX_UNREAD_LINES);
        let (exit_sender, exit) = watch::channel(None);
        let (stdin, input) = tokio::io::duplex(STDIN_BYTES);
        tokio::spawn(forward_stdin(input, self.requests.clone(), agent, call.id));
        tokio::spawn(follow(call, log, LineSender::new(sender), exit_sender));
        Ok(NodeProcess::new(format!("`{command}` in client-{agent}"), lines, Box::pin(stdin), exit))
    }

    /// Returns the content of a file.
    pub(super) async fn get_file(&self, agent: u32, path: &str) -> anyhow::Result<Vec<u8>> {
        let mut call = self.call(agent, |id| Request::GetFile { id, path: path.to_owned() })?;
        let mut content = Vec::new();
        loop {
            let Event::File { bytes, last, .. } = call.next().await? else { bail!("{path}: unexpected event") };
            content.extend(bytes);
            if last {
                return Ok(content);
            }
        }
    }

    /// Kills all programs of an agent and empties its directory.
    pub(super) async fn reset(&self, agent: u32) -> anyhow::Result<()> {
        let mut call = self.call(agent, |id| Request::Reset { id })?;
        call.next().await.map(drop)
    }

    fn call(&self, agent: u32, request: impl FnOnce(u64) -> Request) -> anyhow::Result<Call> {
        let (sender, events) = mpsc::unbounded_channel();
        let id = {
            let mut routing = lock(&self.routing);
            routing.check()?;
            routing.next_id += 1;
            let id = routing.next_id;
            routing.calls.insert((agent, id), sender);
            id
        };
        self.requests.send(ToAgent { to: agent, request: request(id) }).ok().context("the hub has ended")?;
        Ok(Call {
            agent,
            id,
            events,
            routing: Arc::clone(&self.routing),
            requests: self.requests.clone(),
            has_ended: false,
        })
    }
}

fn start(id: u64, command: &NodeCommand, has_stdin: bool) -> Request {
    Request::Start {
        id,
        program: command.executable.name().to_owned(),
        arguments: command.arguments.clone(),
        environment: command.environment.clone(),
        has_stdin,
    }
}

/// Writes requests to the hub's process and forwards its events to their calls.
async fn pump(
    mut process: NodeProcess,
    mut requests: mpsc::UnboundedReceiver<ToAgent>,
    routing: Arc<Mutex<Routing>>,
    change_sender: watch::Sender<u64>,
) {
    let reason = loop {
        tokio::select! {
            line = process.next_line() => match line.as_deref().map(serde_json::from_str) {
                Some(Ok(FromAgent { from, event })) => {
                    let is_change = matches!(event, Event::Connected { .. } | Event::Lost);
                    lock(&routing).route(from, event);
                    if is_change {
                        change_sender.send_modify(|count| *count += 1);
                    }
                }
                Some(Err(error)) => break format!("invalid event from the hub: {error}"),
                None => break "the hub has ended".to_owned(),
            },
            request = requests.recv() => {
                let Some(request) = request else { return };
                let written = match serde_json::to_string(&request) {
                    Ok(line) => process.write_line(&line).await,
                    Err(error) => Err(error.into()),
                };
                if let Err(error) = written {
                    break format!("the hub accepts no requests: {error:#}");
                }
            }
        }
    };
    lock(&routing).break_off(reason);
}
