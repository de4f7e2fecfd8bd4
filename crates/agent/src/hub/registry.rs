//! Which agents are connected, each number at most once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::queue::{Full, Sender};

/// The connected agents by number.
#[derive(Debug, Default)]
pub(super) struct AgentRegistry(Mutex<HashMap<u32, Arc<AgentHandle>>>);

/// A connected agent's place in the roster.
#[derive(Debug)]
pub(super) struct AgentHandle {
    /// Takes requests, as lines.
    pub(super) requests: Sender,
    /// Cancelled to end the connection.
    pub(super) dismissed: CancellationToken,
    /// Cancelled when the connection has ended and the driver was told.
    pub(super) gone: CancellationToken,
}

/// Why a request did not go to an agent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Undelivered {
    /// It is not connected.
    Absent,
    /// Too much waits for it already, so that it was dismissed.
    TooMuch,
}

impl AgentHandle {
    pub(super) fn new(requests: Sender) -> Arc<Self> {
        Arc::new(Self { requests, dismissed: CancellationToken::new(), gone: CancellationToken::new() })
    }
}

impl AgentRegistry {
    /// Enters an agent. One that has the number already is dismissed first, and its end waited for, so that the driver
    /// hears of the two one after the other.
    pub(super) async fn enter(&self, agent_id: u32, handle: &Arc<AgentHandle>) {
        while let Some(older) = self.enter_or_dismiss(agent_id, handle) {
            older.gone.cancelled().await;
        }
    }

    fn enter_or_dismiss(&self, agent_id: u32, handle: &Arc<AgentHandle>) -> Option<Arc<AgentHandle>> {
        let mut handles = self.handles();
        let older = handles.remove(&agent_id);
        match &older {
            Some(older) => older.dismissed.cancel(),
            None => drop(handles.insert(agent_id, Arc::clone(handle))),
        }
        older
    }

    /// Takes an agent out, if it is in; its number may belong to another by now.
    pub(super) fn leave(&self, agent_id: u32, handle: &Arc<AgentHandle>) -> bool {
        let mut handles = self.handles();
        let is_in = handles.get(&agent_id).is_some_and(|other| Arc::ptr_eq(other, handle));
        is_in && handles.remove(&agent_id).is_some()
    }

    /// Puts a request into an agent's queue. Never waits.
    pub(super) fn deliver(&self, agent_id: u32, request: String) -> Result<(), Undelivered> {
        let mut handles = self.handles();
        let handle = handles.get(&agent_id).ok_or(Undelivered::Absent)?;
        let Err(Full) = handle.requests.push(request) else { return Ok(()) };
        // A request must not be lost in silence: what comes of it is that the agent is.
        handle.dismissed.cancel();
        handles.remove(&agent_id);
        Err(Undelivered::TooMuch)
    }

    fn handles(&self) -> MutexGuard<'_, HashMap<u32, Arc<AgentHandle>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{LIMIT_BYTES, queue};

    #[tokio::test]
    async fn a_newcomer_waits_until_the_one_with_its_number_is_gone() {
        let registry = AgentRegistry::default();
        let (older, newer) = (AgentHandle::new(queue().0), AgentHandle::new(queue().0));
        registry.enter(1, &older).await;
        let enter = async {
            registry.enter(1, &newer).await;
            assert!(older.gone.is_cancelled());
        };
        let end = async {
            older.dismissed.cancelled().await;
            assert_eq!(registry.deliver(1, "x".into()), Err(Undelivered::Absent));
            assert!(!registry.leave(1, &older));
            older.gone.cancel();
        };
        tokio::join!(enter, end);
        assert_eq!(registry.deliver(1, "x".into()), Ok(()));
        assert!(!registry.leave(1, &older) && registry.leave(1, &newer));
    }

    #[tokio::test]
    async fn an_agent_that_takes_nothing_is_dismissed() {
        let registry = AgentRegistry::default();
        let (sender, _requests) = queue();
        let handle = AgentHandle::new(sender);
        registry.enter(1, &handle).await;
        let line = "x".repeat(LIMIT_BYTES / 2);
        assert_eq!(registry.deliver(1, line.clone()), Ok(()));
        assert_eq!(registry.deliver(1, line.clone()), Err(Undelivered::TooMuch));
        assert!(handle.dismissed.is_cancelled());
        assert_eq!(registry.deliver(1, line), Err(Undelivered::Absent));
    }
}
