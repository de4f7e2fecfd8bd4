//! One connection to the hub: receives requests, executes them and sends events.
//!
//! Receiving requests never waits for anything else: slow work runs in separate tasks, and lines for a program's stdin
//! go into a bounded queue. A `kill` is therefore executed even while events wait for a driver that does not read, and
//! a program that does not read its stdin delays no other program.

use std::sync::Arc;

use anyhow::anyhow;
use program_main::warning;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::NAME;
use crate::agent::file;
use crate::agent::output::follow;
use crate::agent::program::Program;
use crate::agent::programs::Programs;
use crate::agent::work_dir::WorkDir;
use crate::json_lines::{line_of, lines, next_line, parse, write_messages};
use crate::messages::{Event, Hello, MAX_LINE_BYTES, Request};
use crate::queue::Full;
use crate::socket::Heartbeat;

/// Maximum number of events in the queue to the hub, each with at most [`crate::messages::MAX_CHUNK_BYTES`].
const MAX_QUEUED_EVENTS: usize = 64;

/// State of an agent that outlives its connections.
pub(super) struct Shared {
    pub(super) hello: Hello,
    pub(super) heartbeat: Heartbeat,
    pub(super) work_dir: WorkDir,
    pub(super) programs: Arc<Programs>,
}

/// End of a connection.
pub(super) struct SessionEnd {
    /// Whether the hub had accepted this agent.
    pub(super) was_accepted: bool,
    pub(super) reason: anyhow::Error,
}

/// One connection.
struct Session<'a> {
    shared: &'a Shared,
    events: mpsc::Sender<Event>,
    /// All tasks of this connection.
    tasks: TaskTracker,
}

/// Serves a connection until it ends, then kills its programs and empties the directory.
pub(super) async fn serve(shared: &Shared, stream: TcpStream) -> SessionEnd {
    let (reader, writer) = stream.into_split();
    let (events, queue) = mpsc::channel(MAX_QUEUED_EVENTS);
    let session = Session { shared, events, tasks: TaskTracker::new() };
    let mut was_accepted = false;
    // The branch that does not finish is dropped with its halves of socket and queue: no task blocks on sending.
    let reason = tokio::select! {
        reason = session.receive_requests(reader, &mut was_accepted) => reason,
        reason = send_events(&shared.hello, queue, writer) => reason,
    };
    session.end().await;
    SessionEnd { was_accepted, reason }
}

/// Sends the hello, then events.
async fn send_events(hello: &Hello, mut queue: mpsc::Receiver<Event>, mut hub: OwnedWriteHalf) -> anyhow::Error {
    let send_all = async {
        hub.write_all(line_of(hello)?.as_bytes()).await?;
        write_messages(&mut queue, &mut hub).await?;
        Ok::<_, anyhow::Error>(())
    };
    match send_all.await {
        Ok(()) => anyhow!("the event queue is closed"),
        Err(error) => error.context("cannot send to the hub"),
    }
}

impl Session<'_> {
    /// Executes requests until the connection ends or the hub's heartbeat stops.
    async fn receive_requests(&self, hub: OwnedReadHalf, was_accepted: &mut bool) -> anyhow::Error {
        let mut lines = lines(hub, MAX_LINE_BYTES);
        let silence = self.shared.heartbeat.timeout();
        loop {
            let line = match timeout(silence, next_line(&mut lines)).await {
                Ok(Ok(Some(line))) => line,
                Ok(Ok(None)) => return anyhow!("the hub closed the connection"),
                Ok(Err(error)) => return anyhow::Error::new(error).context("cannot receive from the hub"),
                Err(_) => return anyhow!("no heartbeat from the hub for {silence:?}"),
            };
            *was_accepted = true;
            // An empty line is a heartbeat.
            if !line.is_empty() {
                match parse(&line) {
                    Ok(request) => self.execute(request),
                    Err(error) => return error.into(),
                }
            }
        }
    }

    fn execute(&self, request: Request) {
        match request {
            Request::Start { id, program, arguments, environment, has_stdin } => {
                self.start(id, &Program { program, arguments, environment, has_stdin });
            }
            Request::Input { id, text } => {
                if let Err(Full) = self.shared.programs.input(id, text + "\n") {
                    self.shared
                        .programs
                        .kill_because(id, "killed: stdin queue full, the program does not read its stdin");
                }
            }
            Request::CloseInput { id } => self.shared.programs.close_input(id),
            Request::Kill { id } => self.shared.programs.kill(id),
            Request::GetFile { id, path } => {
                let (path, events) = (self.shared.work_dir.path().join(path), self.events.clone());
                self.tasks.spawn(async move { file::send(id, &path, &events).await });
            }
            Request::Reset { id } => self.reset(id),
        }
    }

    fn start(&self, id: u64, program: &Program) {
        let started = self.shared.programs.start(id, || program.spawn(self.shared.work_dir.path()));
        match started {
            Ok(spawned) => {
                let (programs, events) = (Arc::clone(&self.shared.programs), self.events.clone());
                self.tasks.spawn(follow(id, spawned, programs, events));
            }
            Err(error) => self.respond(Event::Failed { id, reason: format!("{error:#}") }),
        }
    }

    fn reset(&self, id: u64) {
        let (programs, work_dir, events) =
            (Arc::clone(&self.shared.programs), self.shared.work_dir.clone(), self.events.clone());
        let blocked = programs.block_starts();
        self.tasks.spawn(async move {
            programs.kill_all();
            programs.all_finished().await;
            let event = match work_dir.empty().await {
                Ok(()) => Event::Done { id },
                Err(error) => Event::Failed { id, reason: format!("{error:#}") },
            };
            drop(blocked);
            let _ = events.send(event).await;
        });
    }

    /// Sends an event from a separate task. The number of such tasks is bounded by the driver's requests.
    fn respond(&self, event: Event) {
        let events = self.events.clone();
        // Sending fails only if the connection has ended.
        self.tasks.spawn(async move { drop(events.send(event).await) });
    }

    async fn end(self) {
        self.shared.programs.kill_all();
        self.tasks.close();
        self.tasks.wait().await;
        if let Err(error) = self.shared.work_dir.empty().await {
            warning(NAME, format_args!("{error:#}"));
        }
    }
}
