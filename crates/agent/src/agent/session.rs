//! One connection to the hub: requests come in and are done, events go out.
//!
//! Reading requests never waits for anything else: what takes time runs in a task of its own, and lines for a program's
//! stdin go into a queue with a limit. So a `kill` gets through even when events are stuck behind a driver that does
//! not read, and a program that does not read delays no other.

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

/// Events that may wait to be sent, of at most 64 KiB each.
const EVENTS_WAITING: usize = 64;

/// What came through a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing: it was refused, or broke early.
    Nothing,
    /// The hub has accepted this agent.
    Hub,
}

/// State of an agent that outlives its connections.
pub(super) struct Shared {
    pub(super) hello: Hello,
    pub(super) heartbeat: Heartbeat,
    pub(super) work_dir: WorkDir,
    pub(super) programs: Arc<Programs>,
}

/// One connection.
struct Session<'a> {
    shared: &'a Shared,
    events: mpsc::Sender<Event>,
    /// Everything that runs for this connection.
    tasks: TaskTracker,
}

/// Serves a connection until it ends, and leaves nothing of it behind.
pub(super) async fn hold(shared: &Shared, stream: TcpStream) -> (Heard, anyhow::Error) {
    let (reader, writer) = stream.into_split();
    let (events, queue) = mpsc::channel(EVENTS_WAITING);
    let session = Session { shared, events, tasks: TaskTracker::new() };
    let mut heard = Heard::Nothing;
    // The loser of the two is dropped, and with it its end of the socket and of the queue: nothing waits to send any
    // more.
    let why = tokio::select! {
        why = session.listen(reader, &mut heard) => why,
        why = talk(&shared.hello, queue, writer) => why,
    };
    session.end().await;
    (heard, why)
}

/// Sends the introduction, then events.
async fn talk(hello: &Hello, mut queue: mpsc::Receiver<Event>, mut hub: OwnedWriteHalf) -> anyhow::Error {
    let all = async {
        hub.write_all(line_of(hello)?.as_bytes()).await?;
        write_messages(&mut queue, &mut hub).await?;
        Ok::<_, anyhow::Error>(())
    };
    match all.await {
        Ok(()) => anyhow!("there is nothing left to tell"),
        Err(error) => error.context("sending to the hub failed"),
    }
}

impl Session<'_> {
    /// Does what is asked until the hub is gone or silent.
    async fn listen(&self, hub: OwnedReadHalf, heard: &mut Heard) -> anyhow::Error {
        let mut lines = lines(hub, MAX_LINE_BYTES);
        let silence = self.shared.heartbeat.timeout();
        loop {
            let line = match timeout(silence, next_line(&mut lines)).await {
                Ok(Ok(Some(line))) => line,
                Ok(Ok(None)) => return anyhow!("the hub closed the connection"),
                Ok(Err(error)) => return anyhow::Error::new(error).context("reading from the hub"),
                Err(_) => return anyhow!("the hub was silent for {silence:?}"),
            };
            *heard = Heard::Hub;
            // An empty line is a sign of life.
            if !line.is_empty() {
                match parse(&line) {
                    Ok(request) => self.obey(request),
                    Err(error) => return error.into(),
                }
            }
        }
    }

    fn obey(&self, request: Request) {
        match request {
            Request::Start { id, program, arguments, environment, has_stdin } => {
                self.start(id, &Program { program, arguments, environment, has_stdin });
            }
            Request::Input { id, text } => {
                if let Err(Full) = self.shared.programs.input(id, text + "\n") {
                    self.shared
                        .programs
                        .kill_because(id, "killed: it does not read its stdin, and too many lines wait for it");
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
            Ok(child) => {
                let (programs, events) = (Arc::clone(&self.shared.programs), self.events.clone());
                self.tasks.spawn(follow(id, child, programs, events));
            }
            Err(error) => self.answer(Event::Failed { id, why: format!("{error:#}") }),
        }
    }

    fn reset(&self, id: u64) {
        let (programs, work_dir, events) =
            (Arc::clone(&self.shared.programs), self.shared.work_dir.clone(), self.events.clone());
        let closed = programs.close_to_newcomers();
        self.tasks.spawn(async move {
            programs.kill_all();
            programs.all_gone().await;
            let event = match work_dir.empty().await {
                Ok(()) => Event::Done { id },
                Err(error) => Event::Failed { id, why: format!("{error:#}") },
            };
            drop(closed);
            let _ = events.send(event).await;
        });
    }

    /// Sends an event without waiting here. What waits is bounded by the requests that were made.
    fn answer(&self, event: Event) {
        let events = self.events.clone();
        // When events are no longer received the connection is about to end.
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
