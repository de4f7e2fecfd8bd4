//! Which agents are connected, each number at most once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::queue::{Full, Sender};

/// The connected agents by number.
#[derive(Debug, Default)]
pub(super) struct Roster(Mutex<HashMap<u32, Arc<Post>>>);

/// A connected agent's place in the roster.
#[derive(Debug)]
pub(super) struct Post {
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

impl Post {
    pub(super) fn new(requests: Sender) -> Arc<Self> {
        Arc::new(Self { requests, dismissed: CancellationToken::new(), gone: CancellationToken::new() })
    }
}

impl Roster {
    /// Enters an agent. One that has the number already is dismissed first, and its end waited for, so that the driver
    /// hears of the two one after the other.
    pub(super) async fn enter(&self, number: u32, post: &Arc<Post>) {
        while let Some(older) = self.enter_or_dismiss(number, post) {
            older.gone.cancelled().await;
        }
    }

    fn enter_or_dismiss(&self, number: u32, post: &Arc<Post>) -> Option<Arc<Post>> {
        let mut posts = self.posts();
        let older = posts.remove(&number);
        match &older {
            Some(older) => older.dismissed.cancel(),
            None => drop(posts.insert(number, Arc::clone(post))),
        }
        older
    }

    /// Takes an agent out, if it is in; its number may belong to another by now.
    pub(super) fn leave(&self, number: u32, post: &Arc<Post>) -> bool {
        let mut posts = self.posts();
        let is_in = posts.get(&number).is_some_and(|other| Arc::ptr_eq(other, post));
        is_in && posts.remove(&number).is_some()
    }

    /// Puts a request into an agent's queue. Never waits.
    pub(super) fn deliver(&self, number: u32, request: String) -> Result<(), Undelivered> {
        let mut posts = self.posts();
        let post = posts.get(&number).ok_or(Undelivered::Absent)?;
        let Err(Full) = post.requests.push(request) else { return Ok(()) };
        // A request must not be lost in silence: what comes of it is that the agent is.
        post.dismissed.cancel();
        posts.remove(&number);
        Err(Undelivered::TooMuch)
    }

    fn posts(&self) -> MutexGuard<'_, HashMap<u32, Arc<Post>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{LIMIT_BYTES, queue};

    #[tokio::test]
    async fn a_newcomer_waits_until_the_one_with_its_number_is_gone() {
        let roster = Roster::default();
        let (older, newer) = (Post::new(queue().0), Post::new(queue().0));
        roster.enter(1, &older).await;
        let enter = async {
            roster.enter(1, &newer).await;
            assert!(older.gone.is_cancelled());
        };
        let end = async {
            older.dismissed.cancelled().await;
            assert_eq!(roster.deliver(1, "x".into()), Err(Undelivered::Absent));
            assert!(!roster.leave(1, &older));
            older.gone.cancel();
        };
        tokio::join!(enter, end);
        assert_eq!(roster.deliver(1, "x".into()), Ok(()));
        assert!(!roster.leave(1, &older) && roster.leave(1, &newer));
    }

    #[tokio::test]
    async fn an_agent_that_takes_nothing_is_dismissed() {
        let roster = Roster::default();
        let (sender, _requests) = queue();
        let post = Post::new(sender);
        roster.enter(1, &post).await;
        let line = "x".repeat(LIMIT_BYTES / 2);
        assert_eq!(roster.deliver(1, line.clone()), Ok(()));
        assert_eq!(roster.deliver(1, line.clone()), Err(Undelivered::TooMuch));
        assert!(post.dismissed.is_cancelled());
        assert_eq!(roster.deliver(1, line), Err(Undelivered::Absent));
    }
}
