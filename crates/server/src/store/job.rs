//! A closure over a connection on its way to a database thread, and its answer on its way back, with what it spent.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::command_error::{CommandError, CommandResult};
use crate::request_timing::RequestTiming;

/// A job of any type that waits for a database thread, or is being done by one.
pub(super) struct Queued {
    job: Box<dyn Job>,
    /// When it was asked for.
    submitted: Instant,
    /// In the database for this job alone.
    own: Duration,
}

impl Queued {
    /// `work`, asked for at `submitted`, whose result goes to `reply`.
    pub(super) fn new<T, W>(
        work: W,
        submitted: Instant,
        reply: oneshot::Sender<(CommandResult<T>, RequestTiming)>,
    ) -> Self
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> CommandResult<T> + Send + 'static,
    {
        let result = Err(CommandError::Broken("the job was never run".to_owned()));
        Self { job: Box::new(Task { work: Some(work), result, reply }), submitted, own: Duration::ZERO }
    }

    /// Lets `run` do the job, and counts what that takes as the job's own. Also tells when it was over.
    pub(super) fn timed<R>(&mut self, run: impl FnOnce(&mut dyn Job) -> R) -> (R, Instant) {
        let start = Instant::now();
        let outcome = run(&mut *self.job);
        let end = Instant::now();
        self.own += end - start;
        (outcome, end)
    }

    /// In the database for this job alone, so far.
    pub(super) fn own(&self) -> Duration {
        self.own
    }

    /// Replaces the result, whatever it was.
    pub(super) fn spoil(&mut self, failure: CommandError) {
        self.job.spoil(failure);
    }

    /// Sends the result to the waiting request. The job was over at `end`, and took part in database work of
    /// `shared`; whatever else passed since it was asked for was waiting.
    pub(super) fn answer(self, shared: Duration, end: Instant) {
        let disk = self.own + shared;
        let queue = end.saturating_duration_since(self.submitted).saturating_sub(disk);
        self.job.answer(RequestTiming { queue, disk });
    }
}

/// Work for a database thread.
pub(super) trait Job: Send {
    /// Does the work and keeps the result. `false` when it failed and must be undone.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Replaces the result, whatever it was.
    fn spoil(&mut self, failure: CommandError);
    /// Sends the result to the waiting request.
    fn answer(self: Box<Self>, timing: RequestTiming);
}

/// Work that gives a `T`.
struct Task<T, W> {
    /// The work, until it was run.
    work: Option<W>,
    /// What came of it.
    result: CommandResult<T>,
    /// Who waits for it.
    reply: oneshot::Sender<(CommandResult<T>, RequestTiming)>,
}

impl<T, W> Job for Task<T, W>
where
    T: Send,
    W: FnOnce(&Connection) -> CommandResult<T> + Send,
{
    fn run(&mut self, connection: &Connection) -> bool {
        if let Some(work) = self.work.take() {
            let result = catch_unwind(AssertUnwindSafe(|| work(connection)));
            self.result = result.unwrap_or_else(|panic| Err(CommandError::panicked(&*panic)));
        }
        self.result.is_ok()
    }

    fn spoil(&mut self, failure: CommandError) {
        self.result = Err(failure);
    }

    fn answer(self: Box<Self>, timing: RequestTiming) {
        // The request may be gone; the change stays made.
        let _ = self.reply.send((self.result, timing));
    }
}
