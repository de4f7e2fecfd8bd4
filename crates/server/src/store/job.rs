//! A closure over a connection on its way to a database thread, and its answer on its way back.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::failure::{Answer, Failure};

/// A job of any type.
pub(super) type BoxedJob = Box<dyn Job>;

/// Work for a database thread.
pub(super) trait Job: Send {
    /// Does the work and keeps the result. `false` when it failed and must be undone.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Replaces the result, whatever it was.
    fn spoil(&mut self, failure: Failure);
    /// Sends the result to whoever waits for it.
    fn answer(self: Box<Self>);
}

/// Work that gives a `T`.
pub(super) struct Task<T, W> {
    /// The work, until it was run.
    work: Option<W>,
    /// What came of it.
    result: Answer<T>,
    /// Who waits for it.
    reply: oneshot::Sender<Answer<T>>,
}

impl<T, W> Task<T, W> {
    /// `work`, whose result goes to `reply`.
    pub(super) fn new(work: W, reply: oneshot::Sender<Answer<T>>) -> Self {
        Self { work: Some(work), result: Err(Failure::Broken("the job was never run".to_owned())), reply }
    }
}

impl<T, W> Job for Task<T, W>
where
    T: Send,
    W: FnOnce(&Connection) -> Answer<T> + Send,
{
    fn run(&mut self, connection: &Connection) -> bool {
        if let Some(work) = self.work.take() {
            let result = catch_unwind(AssertUnwindSafe(|| work(connection)));
            self.result = result.unwrap_or_else(|panic| Err(Failure::panicked(&*panic)));
        }
        self.result.is_ok()
    }

    fn spoil(&mut self, failure: Failure) {
        self.result = Err(failure);
    }

    fn answer(self: Box<Self>) {
        // Whoever asked may be gone; what was done stays done.
        let _ = self.reply.send(self.result);
    }
}
