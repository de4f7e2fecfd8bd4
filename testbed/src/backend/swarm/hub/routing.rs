//! State of all agents, and routing of their events to calls.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use agent::messages::Event;
use tokio::sync::mpsc;

/// State of an agent that has connected at least once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::backend::swarm) struct AgentState {
    /// Name of its host.
    pub(in crate::backend::swarm) host: String,
    /// Build of its programs.
    pub(in crate::backend::swarm) version: String,
    /// Whether it is connected.
    pub(in crate::backend::swarm) is_connected: bool,
}

/// States of all agents, and the calls that wait for their events.
#[derive(Default)]
pub(super) struct Routing {
    /// Agents by number.
    pub(super) agents: HashMap<u32, AgentState>,
    /// Receivers of events, by agent and call id.
    pub(super) calls: HashMap<(u32, u64), mpsc::UnboundedSender<Event>>,
    /// Id of the next call.
    pub(super) next_id: u64,
    /// Reason why there are no further events.
    broken: Option<String>,
}

/// Locks the routing. A panic of another holder leaves it usable: each change is a single assignment.
pub(super) fn lock(routing: &Mutex<Routing>) -> MutexGuard<'_, Routing> {
    routing.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Routing {
    /// Returns an error with the reason if there are no further events.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.broken.as_ref().map_or(Ok(()), |reason| Err(anyhow::anyhow!("{reason}")))
    }

    /// Returns the error of a call whose events have ended.
    pub(super) fn ended(&self) -> anyhow::Error {
        self.check().err().unwrap_or_else(|| anyhow::anyhow!("the hub has ended"))
    }

    /// Ends all calls.
    pub(super) fn break_off(&mut self, reason: String) {
        self.broken = Some(reason);
        self.calls.clear();
    }

    /// Updates the agent's state, or sends the event to its call.
    pub(super) fn route(&mut self, from: u32, event: Event) {
        match event {
            Event::Connected { host, version } => {
                self.agents.insert(from, AgentState { host, version, is_connected: true });
            }
            Event::Lost => {
                if let Some(agent) = self.agents.get_mut(&from) {
                    agent.is_connected = false;
                }
                for (_, call) in self.calls.iter().filter(|((agent, _), _)| *agent == from) {
                    let _ = call.send(Event::Lost);
                }
            }
            event => {
                // Sending fails only if the call was dropped.
                if let Some(call) = event.id().and_then(|id| self.calls.get(&(from, id))) {
                    let _ = call.send(event);
                }
            }
        }
    }
}
