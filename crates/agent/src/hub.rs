//! The hub: requests from the driver's stdin to the agents it names, events of all agents to stdout.
//!
//! Requests never wait: each agent has a queue with a limit, and one that lets it overflow is given up. Events wait as
//! long as the driver does not read, and so do the agents and in the end the programs that write.

mod registry;
mod session;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use program_main::{json_line, warning};
use tokio::io::AsyncRead;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::NAME;
use crate::json_lines::{line_of, lines, next_message, write_messages};
use crate::messages::{Event, FromAgent, Listening, MAX_LINE_BYTES, ToAgent};
use crate::socket::Heartbeat;
use crate::token::Token;
use registry::{AgentRegistry, Undelivered};
use session::Shared;

/// Events of all agents that may wait for the driver.
const EVENTS_WAITING: usize = 64;

/// Before accepting is tried again when the system refuses, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Runs until stdin closes.
///
/// # Errors
/// When it can't listen, the driver sends what is no request, or stdout can't be written.
pub(crate) async fn run(listen: SocketAddr, token: Token, heartbeat: Heartbeat) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}; is the address one of this host's, and the port free?"))?;
    json_line(&Listening { listening: listener.local_addr()? })?;
    let (events, mut queue) = mpsc::channel(EVENTS_WAITING);
    let mut driver = tokio::io::stdout();
    let hub = Arc::new(Shared { token, heartbeat, registry: AgentRegistry::default(), events });
    tokio::select! {
        done = pass_on_requests(&hub, tokio::io::stdin()) => done,
        done = write_messages(&mut queue, &mut driver) => done.context("cannot write events to stdout"),
        never = accept(&listener, &hub) => match never {},
    }
}

/// Takes in agents, each in a task of its own.
async fn accept(listener: &TcpListener, hub: &Arc<Shared>) -> Infallible {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(session::hold(Arc::clone(hub), stream, peer));
            }
            Err(error) => {
                warning(NAME, format_args!("cannot accept an agent: {error}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Reads requests until there are no more.
async fn pass_on_requests(hub: &Shared, driver: impl AsyncRead + Unpin) -> anyhow::Result<()> {
    let mut lines = lines(driver, MAX_LINE_BYTES);
    while let Some(message) = next_message(&mut lines).await.context("stdin")? {
        pass_on(hub, &message)?;
    }
    Ok(())
}

fn pass_on(hub: &Shared, ToAgent { to, request }: &ToAgent) -> anyhow::Result<()> {
    match hub.registry.deliver(*to, line_of(request)?) {
        Ok(()) => {}
        Err(Undelivered::Absent) if request.awaits_answer() => {
            let why = format!("agent {to} is not connected");
            tell_later(hub, FromAgent { from: *to, event: Event::Failed { id: request.id(), why } });
        }
        // Its programs are gone, and the driver was told.
        Err(Undelivered::Absent) => {}
        Err(Undelivered::TooMuch) => warning(NAME, format_args!("agent {to} takes no requests any more: given up")),
    }
    Ok(())
}

/// Tells the driver without waiting here: a driver that first writes all requests and then reads must not be stuck.
/// What waits is bounded by the requests it makes.
fn tell_later(hub: &Shared, event: FromAgent) {
    let events = hub.events.clone();
    // When events are no longer received the hub is about to exit.
    tokio::spawn(async move { drop(events.send(event).await) });
}
