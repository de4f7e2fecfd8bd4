//! One agent's connection, from its introduction to its loss.

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

/// Within this an agent must have introduced itself.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum size of a hello: the sender has not been authenticated yet.
const MAX_HELLO_BYTES: usize = 8 * 1024;

/// How long an agent may take nothing of what is sent to it.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// What all of the hub's tasks share.
pub(super) struct Shared {
    /// What agents must know.
    pub(super) token: Token,
    /// What idle agents are sent.
    pub(super) heartbeat: Heartbeat,
    /// Which agents are connected.
    pub(super) registry: AgentRegistry,
    /// To the driver.
    pub(super) events: mpsc::Sender<FromAgent>,
}

/// Serves a connection until it ends.
pub(super) async fn hold(hub: Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    let tuned = socket::tune(&stream).and_then(|()| socket::limit_unanswered(&stream, hub.heartbeat));
    let (reader, writer) = stream.into_split();
    let mut first_lines = lines(reader, MAX_HELLO_BYTES);
    let hello = match tuned {
        Ok(()) => hello(&mut first_lines, &hub).await,
        Err(error) => Err(error.into()),
    };
    let mut events = first_lines.map_decoder(|_| tokio_util::codec::LinesCodec::new_with_max_length(MAX_LINE_BYTES));
    let Hello { agent_id, host, version, .. } = match hello {
        Ok(hello) => hello,
        Err(why) => return warning(NAME, format_args!("refused {peer}: {why:#}")),
    };
    let (requests, waiting) = queue();
    let handle = AgentHandle::new(requests);
    // Also if this task should panic: a newcomer waits for it.
    let gone = handle.gone.clone().drop_guard();
    // Requests and signs of life flow from now on, however long the driver takes to read what is told to it.
    let why = tokio::select! {
        why = listen(&hub, &handle, agent_id, Event::Connected { host, version }, &mut events) => why,
        why = talk(waiting, writer, hub.heartbeat) => why,
        () = handle.dismissed.cancelled() => anyhow!("it was replaced or took no requests"),
    };
    // First out of the roster, then the news: no request falls between `Lost` and a `Failed` of its own.
    let was_in = hub.registry.leave(agent_id, &handle) || handle.dismissed.is_cancelled();
    warning(NAME, format_args!("lost agent {agent_id} at {peer}: {why:#}"));
    if was_in {
        // When events are no longer received the hub is about to exit.
        let _ = hub.events.send(FromAgent { from: agent_id, event: Event::Lost }).await;
    }
    drop(gone);
}

/// The agent's first line, if it shows that the agent belongs here.
async fn hello(lines: &mut Lines<OwnedReadHalf>, hub: &Shared) -> anyhow::Result<Hello> {
    let line = timeout(HELLO_TIMEOUT, next_message::<Hello, _>(lines)).await;
    let line = line.with_context(|| format!("it did not introduce itself within {} s", HELLO_TIMEOUT.as_secs()))?;
    let hello = line?.context("it left without introducing itself")?;
    let agent_id = hello.agent_id;
    ensure!(hello.token == hub.token, "it says it is agent {agent_id}, but has a wrong token");
    Ok(hello)
}

/// Enters the agent, and tells the driver of it and of all that it says.
async fn listen(
    hub: &Shared,
    handle: &Arc<AgentHandle>,
    agent_id: u32,
    hello: Event,
    lines: &mut Lines<OwnedReadHalf>,
) -> anyhow::Error {
    hub.registry.enter(agent_id, handle).await;
    let mut event = hello;
    loop {
        if hub.events.send(FromAgent { from: agent_id, event }).await.is_err() {
            return anyhow!("the hub ends");
        }
        event = match next_message(lines).await {
            Ok(Some(event)) => event,
            Ok(None) => return anyhow!("it closed the connection"),
            Err(error) => return error.into(),
        };
    }
}

/// Sends requests, and an empty line when there are none for a while.
async fn talk(mut requests: Receiver, mut agent: impl AsyncWrite + Unpin, heartbeat: Heartbeat) -> anyhow::Error {
    // At once: only with this does the agent know that it was not refused.
    let mut line = "\n".to_owned();
    loop {
        if let Err(error) = send(&mut agent, line.as_bytes()).await {
            return error;
        }
        line = match timeout(heartbeat.interval(), requests.next()).await {
            Ok(Some(request)) => request,
            Ok(None) => return anyhow!("the driver has closed the hub's stdin"),
            Err(_) => "\n".to_owned(),
        };
    }
}

/// Writes all bytes, as long as some are taken now and then.
async fn send(agent: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8]) -> anyhow::Result<()> {
    while !bytes.is_empty() {
        let written = timeout(STALL_TIMEOUT, agent.write(bytes)).await;
        let written = written.with_context(|| format!("it took nothing for {} s", STALL_TIMEOUT.as_secs()))?;
        bytes = &bytes[written.context("sending failed")?..];
    }
    Ok(())
}
