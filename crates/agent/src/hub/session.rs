//! One agent's connection, from its introduction to its loss.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::timeout;

use super::Hub;
use super::roster::Post;
use crate::lines::{Lines, lines, next_message};
use crate::output::note;
use crate::protocol::{Event, FromAgent, Introduction, MAX_LINE_BYTES};
use crate::queue::{Receiver, queue};
use crate::socket::{self, Heartbeat};

/// Within this an agent must have introduced itself.
const INTRODUCTION_LIMIT: Duration = Duration::from_secs(10);

/// Longest introduction; whoever sends more has not shown its token yet.
const MAX_INTRODUCTION_BYTES: usize = 8 * 1024;

/// How long an agent may take nothing of what is sent to it.
const STALL_LIMIT: Duration = Duration::from_secs(10);

/// Serves a connection until it ends.
pub(super) async fn hold(hub: Arc<Hub>, stream: TcpStream, peer: SocketAddr) {
    let tuned = socket::tune(&stream).and_then(|()| socket::limit_unanswered(&stream, hub.heartbeat));
    let (reader, writer) = stream.into_split();
    let mut first_lines = lines(reader, MAX_INTRODUCTION_BYTES);
    let introduction = match tuned {
        Ok(()) => introduction(&mut first_lines, &hub).await,
        Err(error) => Err(error.into()),
    };
    let mut events = first_lines.map_decoder(|_| tokio_util::codec::LinesCodec::new_with_max_length(MAX_LINE_BYTES));
    let Introduction { number, node, version, .. } = match introduction {
        Ok(introduction) => introduction,
        Err(why) => return note(format_args!("refused {peer}: {why:#}")),
    };
    let (requests, waiting) = queue();
    let post = Post::new(requests);
    // Also if this task should panic: a newcomer waits for it.
    let gone = post.gone.clone().drop_guard();
    // Requests and signs of life flow from now on, however long the driver takes to read what is told to it.
    let why = tokio::select! {
        why = listen(&hub, &post, number, Event::Hello { node, version }, &mut events) => why,
        why = talk(waiting, writer, hub.heartbeat) => why,
        () = post.dismissed.cancelled() => anyhow!("it was replaced or took no requests"),
    };
    // First out of the roster, then the news: no request falls between `Lost` and a `Failed` of its own.
    let was_in = hub.roster.leave(number, &post) || post.dismissed.is_cancelled();
    note(format_args!("lost agent {number} at {peer}: {why:#}"));
    if was_in {
        // When nobody takes events any more the hub is about to end.
        let _ = hub.events.send(FromAgent { from: number, event: Event::Lost }).await;
    }
    drop(gone);
}

/// The agent's first line, if it shows that the agent belongs here.
async fn introduction(lines: &mut Lines<OwnedReadHalf>, hub: &Hub) -> anyhow::Result<Introduction> {
    let line = timeout(INTRODUCTION_LIMIT, next_message::<Introduction, _>(lines)).await;
    let line =
        line.with_context(|| format!("it did not introduce itself within {} s", INTRODUCTION_LIMIT.as_secs()))?;
    let introduction = line?.context("it left without introducing itself")?;
    let number = introduction.number;
    ensure!(introduction.token == hub.token, "it says it is agent {number}, but has a wrong token");
    Ok(introduction)
}

/// Enters the agent, and tells the driver of it and of all that it says.
async fn listen(
    hub: &Hub,
    post: &Arc<Post>,
    number: u32,
    hello: Event,
    lines: &mut Lines<OwnedReadHalf>,
) -> anyhow::Error {
    hub.roster.enter(number, post).await;
    let mut event = hello;
    loop {
        if hub.events.send(FromAgent { from: number, event }).await.is_err() {
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
            Ok(None) => return anyhow!("there is nobody left to ask it for anything"),
            Err(_) => "\n".to_owned(),
        };
    }
}

/// Writes all bytes, as long as some are taken now and then.
async fn send(agent: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8]) -> anyhow::Result<()> {
    while !bytes.is_empty() {
        let written = timeout(STALL_LIMIT, agent.write(bytes)).await;
        let written = written.with_context(|| format!("it took nothing for {} s", STALL_LIMIT.as_secs()))?;
        bytes = &bytes[written.context("sending failed")?..];
    }
    Ok(())
}
