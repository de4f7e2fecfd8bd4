//! The connected agents, at most one for each number.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::queue::{Full, Sender};

/// Connected agents by number.
#[derive(Debug, Default)]
pub(super) struct AgentRegistry(Mutex<HashMap<u32, Arc<AgentHandle>>>);

/// Handle of a connected agent.
#[derive(Debug)]
pub(super) struct AgentHandle {
    /// Queue of requests, as lines.
    pub(super) requests: Sender,
    /// Cancelled to close the connection.
    pub(super) closing: CancellationToken,
    /// Cancelled when the connection has ended and the driver was informed.
    pub(super) closed: CancellationToken,
}

/// Reason for which a request was not delivered to an agent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DeliveryError {
    /// The agent is not connected.
    NotConnected,
    /// The agent's queue is full, and its connection is being closed.
    QueueFull,
}

impl AgentHandle {
    pub(super) fn new(requests: Sender) -> Arc<Self> {
        Arc::new(Self { requests, closing: CancellationToken::new(), closed: CancellationToken::new() })
    }
}

impl AgentRegistry {
    /// Registers an agent. The connection of an earlier agent with this number is closed first, so that the driver
    /// receives `Lost` of the earlier before `Connected` of the later.
    pub(super) async fn register(&self, agent_id: u32, handle: &Arc<AgentHandle>) {
        while let Some(earlier) = self.register_or_close(agent_id, handle) {
            earlier.closed.cancelled().await;
        }
    }

    fn register_or_close(&self, agent_id: u32, handle: &Arc<AgentHandle>) -> Option<Arc<AgentHandle>> {
        let mut handles = self.handles();
        let earlier = handles.remove(&agent_id);
        match &earlier {
            Some(earlier) => earlier.closing.cancel(),
            None => drop(handles.insert(agent_id, Arc::clone(handle))),
        }
        earlier
    }

    /// Removes an agent, and returns whether it was registered; its number may already belong to another agent.
    pub(super) fn deregister(&self, agent_id: u32, handle: &Arc<AgentHandle>) -> bool {
        let mut handles = self.handles();
        let is_registered = handles.get(&agent_id).is_some_and(|other| Arc::ptr_eq(other, handle));
        is_registered && handles.remove(&agent_id).is_some()
    }

    /// Adds a request to an agent's queue without waiting.
    pub(super) fn deliver(&self, agent_id: u32, request: String) -> Result<(), DeliveryError> {
        let mut handles = self.handles();
        let handle = handles.get(&agent_id).ok_or(DeliveryError::NotConnected)?;
        let Err(Full) = handle.requests.push(request) else { return Ok(()) };
        // A request must not be lost unnoticed: the driver receives `Lost` of the agent.
        handle.closing.cancel();
        handles.remove(&agent_id);
        Err(DeliveryError::QueueFull)
    }

    fn handles(&self) -> MutexGuard<'_, HashMap<u32, Arc<AgentHandle>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{MAX_BYTES, queue};

    #[tokio::test]
    async fn an_agent_is_registered_after_the_earlier_one_with_its_number_has_ended() {
        let registry = AgentRegistry::default();
        let (earlier, later) = (AgentHandle::new(queue().0), AgentHandle::new(queue().0));
        registry.register(1, &earlier).await;
        let register = async {
            registry.register(1, &later).await;
            assert!(earlier.closed.is_cancelled());
        };
        let end = async {
            earlier.closing.cancelled().await;
            assert_eq!(registry.deliver(1, "x".into()), Err(DeliveryError::NotConnected));
            assert!(!registry.deregister(1, &earlier));
            earlier.closed.cancel();
        };
        tokio::join!(register, end);
        assert_eq!(registry.deliver(1, "x".into()), Ok(()));
        assert!(!registry.deregister(1, &earlier) && registry.deregister(1, &later));
    }

    #[tokio::test]
    async fn the_connection_of_an_agent_with_a_full_queue_is_closed() {
        let registry = AgentRegistry::default();
        let (sender, _requests) = queue();
        let handle = AgentHandle::new(sender);
        registry.register(1, &handle).await;
        let line = "x".repeat(MAX_BYTES / 2);
        assert_eq!(registry.deliver(1, line.clone()), Ok(()));
        assert_eq!(registry.deliver(1, line.clone()), Err(DeliveryError::QueueFull));
        assert!(handle.closing.is_cancelled());
        assert_eq!(registry.deliver(1, line), Err(DeliveryError::NotConnected));
    }
}
