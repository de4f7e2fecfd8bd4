//! One request to an agent, and its events.

use std::sync::{Arc, Mutex};

use agent::messages::{Event, Request, ToAgent};
use anyhow::bail;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::sync::{mpsc, watch};

use crate::backend::node_process::{ExitStatus, LineSender};
use crate::backend::swarm::hub::routing::{Routing, lock};

/// A request to an agent. Dropping it before its last event kills the started program.
pub(super) struct Call {
    pub(super) agent: u32,
    pub(super) id: u64,
    pub(super) events: mpsc::UnboundedReceiver<Event>,
    pub(super) routing: Arc<Mutex<Routing>>,
    pub(super) requests: mpsc::UnboundedSender<ToAgent>,
    pub(super) has_ended: bool,
}

impl Call {
    /// Waits for the next event.
    ///
    /// # Errors
    /// The request failed, the agent is lost, or the hub has ended.
    pub(super) async fn next(&mut self) -> anyhow::Result<Event> {
        let event = self.events.recv().await;
        self.has_ended = event.as_ref().is_none_or(Event::is_final);
        match event {
            Some(Event::Failed { reason, .. }) => bail!("{reason}"),
            Some(Event::Lost) => bail!("the connection to client-{} is lost", self.agent),
            Some(event) => Ok(event),
            None => Err(lock(&self.routing).ended()),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        lock(&self.routing).calls.remove(&(self.agent, self.id));
        if !self.has_ended {
            let _ = self.requests.send(ToAgent { to: self.agent, request: Request::Kill { id: self.id } });
        }
    }
}

/// Forwards lines to the program's stdin until `from` is closed.
pub(super) async fn forward_stdin(from: DuplexStream, requests: mpsc::UnboundedSender<ToAgent>, agent: u32, id: u64) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(text)) = lines.next_line().await {
        let _ = requests.send(ToAgent { to: agent, request: Request::Input { id, text } });
    }
    let _ = requests.send(ToAgent { to: agent, request: Request::CloseInput { id } });
}

/// Sends the lines of stdout to `sender`, writes stderr to the log, and reports the exit code.
pub(super) async fn follow(
    mut call: Call,
    mut log: tokio::fs::File,
    mut lines: LineSender,
    exit_sender: watch::Sender<Option<ExitStatus>>,
) {
    let status = loop {
        match call.next().await {
            Ok(Event::Stdout { bytes, .. }) => lines.push(&bytes).await,
            // A full disk must not stop the streams: the log is less important than the samples.
            Ok(Event::Stderr { bytes, .. }) => drop(log.write_all(&bytes).await),
            Ok(Event::Exited { code, .. }) => break code,
            Ok(_) => {}
            Err(error) => {
                let _ = log.write_all(format!("({error:#})\n").as_bytes()).await;
                break -1;
            }
        }
    };
    lines.finish().await;
    let _ = log.flush().await;
    let _ = exit_sender.send(Some(status));
}
