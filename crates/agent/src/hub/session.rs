//! One agent's connection, from its hello to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use program_main::warning;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::NAME;
use crate::hub::registry::{AgentHandle, AgentRegistry};
use crate::json_lines::{Lines, lines, next_message};
use crate::messages::{Event, FromAgent, Hello, MAX_LINE_BYTES};
use crate::queue::{Receiver, queue};
use crate::socket;
use crate::socket::Heartbeat;
use crate::token::Token;

/// Timeout of an agent's hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum size of a hello: the sender has not been authenticated yet.
const MAX_HELLO_BYTES: usize = 8 * 1024;

/// Timeout for an agent to accept the next bytes of a request.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// State that all tasks of the hub share.
pub(super) struct Shared {
    /// Secret that agents must present.
    pub(super) token: Token,
    /// Heartbeat sent to idle agents.
    pub(super) heartbeat: Heartbeat,
    /// Connected agents.
    pub(super) registry: AgentRegistry,
    /// Queue of events to the driver.
    pub(super) events: mpsc::Sender<FromAgent>,
}

/// Serves a connection until it ends.
pub(super) async fn serve(hub: Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    let tuned = socket::tune(&stream).and_then(|()| socket::limit_unacknowledged(&stream, hub.heartbeat));
    let (reader, writer) = stream.into_split();
    let mut hello_lines = lines(reader, MAX_HELLO_BYTES);
    let hello = match tuned {
        Ok(()) => receive_hello(&mut hello_lines, &hub).await,
        Err(error) => Err(error.into()),
    };
    let mut events = hello_lines.map_decoder(|_| tokio_util::codec::LinesCodec::new_with_max_length(MAX_LINE_BYTES));
    let Hello { agent_id, host, version, .. } = match hello {
        Ok(hello) => hello,
        Err(reason) => return warning(NAME, format_args!("rejected {peer}: {reason:#}")),
    };
    let (requests, queued) = queue();
    let handle = AgentHandle::new(requests);
    // Also cancelled if this task panics: a later agent with this number waits for it.
    let closed = handle.closed.clone().drop_guard();
    // Requests and heartbeats are sent even while the driver does not read events.
    let reason = tokio::select! {
        reason = receive_events(&hub, &handle, agent_id, Event::Connected { host, version }, &mut events) => reason,
        reason = send_requests(queued, writer, hub.heartbeat) => reason,
        () = handle.closing.cancelled() => anyhow!("replaced by another agent, or request queue full"),
    };
    // Deregistered before `Lost` is sent: otherwise a request in between would get neither `Failed` nor a later `Lost`.
    let was_registered = hub.registry.deregister(agent_id, &handle) || handle.closing.is_cancelled();
    warning(NAME, format_args!("lost agent {agent_id} at {peer}: {reason:#}"));
    if was_registered {
        // Sending fails only if the hub is about to exit.
        let _ = hub.events.send(FromAgent { from: agent_id, event: Event::Lost }).await;
    }
    drop(closed);
}

/// Receives the agent's hello and checks its token.
async fn receive_hello(lines: &mut Lines<OwnedReadHalf>, hub: &Shared) -> anyhow::Result<Hello> {
    let line = timeout(HELLO_TIMEOUT, next_message::<Hello, _>(lines)).await;
    let line = line.with_context(|| format!("no hello within {} s", HELLO_TIMEOUT.as_secs()))?;
    let hello = line?.context("connection closed before the hello")?;
    ensure!(hello.token == hub.token, "wrong token from agent {}", hello.agent_id);
    Ok(hello)
}

/// Registers the agent and relays its events to the driver, `connected` first.
async fn receive_events(
    hub: &Shared,
    handle: &Arc<AgentHandle>,
    agent_id: u32,
    connected: Event,
    lines: &mut Lines<OwnedReadHalf>,
) -> anyhow::Error {
    hub.registry.register(agent_id, handle).await;
    let mut event = connected;
    loop {
        if hub.events.send(FromAgent { from: agent_id, event }).await.is_err() {
            return anyhow!("the hub is about to exit");
        }
        event = match next_message(lines).await {
            Ok(Some(event)) => event,
            Ok(None) => return anyhow!("the agent closed the connection"),
            Err(error) => return error.into(),
        };
    }
}

/// Sends requests, and a heartbeat (an empty line) after each interval without one.
async fn send_requests(
    mut requests: Receiver,
    mut agent: impl AsyncWrite + Unpin,
    heartbeat: Heartbeat,
) -> anyhow::Error {
    // The first heartbeat is sent immediately: it shows the agent that it was accepted.
    let mut line = "\n".to_owned();
    loop {
        if let Err(error) = send(&mut agent, line.as_bytes()).await {
            return error;
        }
        line = match timeout(heartbeat.interval(), requests.next()).await {
            Ok(Some(request)) => request,
            Ok(None) => return anyhow!("the request queue is closed"),
            Err(_) => "\n".to_owned(),
        };
    }
}

/// Writes all bytes, as long as the agent accepts some within each [`STALL_TIMEOUT`].
async fn send(agent: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8]) -> anyhow::Result<()> {
    while !bytes.is_empty() {
        let written = timeout(STALL_TIMEOUT, agent.write(bytes)).await;
        let written = written.with_context(|| format!("no bytes accepted for {} s", STALL_TIMEOUT.as_secs()))?;
        bytes = &bytes[written.context("cannot send to the agent")?..];
    }
    Ok(())
}
