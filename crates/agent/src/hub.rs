//! The hub: relays requests from the driver's stdin to the agents, and events of all agents to stdout.
//!
//! Requests never wait: each agent has a bounded queue, and its connection is closed if the queue overflows. Events
//! wait until the driver reads, which blocks the agents and finally the programs that write.

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
use registry::{AgentRegistry, DeliveryError};
use session::Shared;

/// Maximum number of events of all agents in the queue to the driver.
const MAX_QUEUED_EVENTS: usize = 64;

/// Time between attempts after `accept` failed, for example because no file descriptor is free.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Runs the hub until stdin closes.
///
/// # Errors
/// The hub cannot listen, stdin contains an invalid request, or stdout cannot be written.
pub(crate) async fn run(listen: SocketAddr, token: Token, heartbeat: Heartbeat) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}: is it an address of this host, and is the port free?"))?;
    json_line(&Listening { listening: listener.local_addr()? })?;
    let (events, mut queue) = mpsc::channel(MAX_QUEUED_EVENTS);
    let mut driver = tokio::io::stdout();
    let hub = Arc::new(Shared { token, heartbeat, registry: AgentRegistry::default(), events });
    tokio::select! {
        done = relay_requests(&hub, tokio::io::stdin()) => done,
        done = write_messages(&mut queue, &mut driver) => done.context("cannot write events to stdout"),
        never = accept(&listener, &hub) => match never {},
    }
}

/// Accepts agents; each connection has its own task.
async fn accept(listener: &TcpListener, hub: &Arc<Shared>) -> Infallible {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(session::serve(Arc::clone(hub), stream, peer));
            }
            Err(error) => {
                warning(NAME, format_args!("cannot accept an agent: {error}; retrying"));
                tokio::time::sleep(ACCEPT_RETRY_INTERVAL).await;
            }
        }
    }
}

/// Relays requests until stdin closes.
async fn relay_requests(hub: &Shared, driver: impl AsyncRead + Unpin) -> anyhow::Result<()> {
    let mut lines = lines(driver, MAX_LINE_BYTES);
    while let Some(message) = next_message(&mut lines).await.context("stdin")? {
        relay(hub, &message)?;
    }
    Ok(())
}

fn relay(hub: &Shared, ToAgent { to, request }: &ToAgent) -> anyhow::Result<()> {
    match hub.registry.deliver(*to, line_of(request)?) {
        Ok(()) => {}
        Err(DeliveryError::NotConnected) if request.awaits_response() => {
            let reason = format!("agent {to} is not connected");
            respond(hub, FromAgent { from: *to, event: Event::Failed { id: request.id(), reason } });
        }
        // The program ended with the connection, and the driver has received `Lost`.
        Err(DeliveryError::NotConnected) => {}
        Err(DeliveryError::QueueFull) => {
            warning(NAME, format_args!("agent {to}: request queue full, connection closed"));
        }
    }
    Ok(())
}

/// Sends an event from a separate task: a driver that writes all requests before it reads must not block the hub. The
/// number of such tasks is bounded by the driver's requests.
fn respond(hub: &Shared, event: FromAgent) {
    let events = hub.events.clone();
    // Sending fails only if the hub is about to exit.
    tokio::spawn(async move { drop(events.send(event).await) });
}
