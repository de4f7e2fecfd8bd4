//! Job of a database thread: a closure over a connection, its timing, and the way back for its result.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::command_error::{CommandError, CommandResult};
use crate::request_timing::RequestTiming;

/// Job of any result type, waiting for a database thread or running on one.
pub(super) struct Queued {
    job: Box<dyn Job>,
    /// When the request submitted it.
    submitted: Instant,
    /// Database time of this job alone.
    own: Duration,
}

impl Queued {
    /// Returns a job that runs `work` and sends its result to `reply`.
    pub(super) fn new<T, W>(
        work: W,
        submitted: Instant,
        reply: oneshot::Sender<(CommandResult<T>, RequestTiming)>,
    ) -> Self
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> CommandResult<T> + Send + 'static,
    {
        let result = Err(CommandError::Broken("the job was not run".to_owned()));
        Self { job: Box::new(Task { work: Some(work), result, reply }), submitted, own: Duration::ZERO }
    }

    /// Runs the job by `run` and adds the time to the job's own. Also returns when it ended.
    pub(super) fn timed<R>(&mut self, run: impl FnOnce(&mut dyn Job) -> R) -> (R, Instant) {
        let start = Instant::now();
        let outcome = run(&mut *self.job);
        let end = Instant::now();
        self.own += end - start;
        (outcome, end)
    }

    /// Returns the database time of this job alone.
    pub(super) fn own(&self) -> Duration {
        self.own
    }

    /// Replaces the result by an error.
    pub(super) fn fail(&mut self, error: CommandError) {
        self.job.fail(error);
    }

    /// Sends the result to the waiting request. The job ended at `end`, and its database time includes `shared` for the
    /// transaction; the rest of the time since the submission counts as queue time.
    pub(super) fn reply(self, shared: Duration, end: Instant) {
        let database = self.own + shared;
        let queue = end.saturating_duration_since(self.submitted).saturating_sub(database);
        self.job.reply(RequestTiming { queue, database });
    }
}

/// Work for a database thread.
pub(super) trait Job: Send {
    /// Runs the work and keeps the result. Returns false if it failed and its changes must be undone.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Replaces the result by an error.
    fn fail(&mut self, error: CommandError);
    /// Sends the result to the waiting request.
    fn reply(self: Box<Self>, timing: RequestTiming);
}

/// Job with a result of type `T`.
struct Task<T, W> {
    /// `None` once it was run.
    work: Option<W>,
    result: CommandResult<T>,
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

    fn fail(&mut self, error: CommandError) {
        self.result = Err(error);
    }

    fn reply(self: Box<Self>, timing: RequestTiming) {
        // The connection may be closed; the change remains.
        let _ = self.reply.send((self.result, timing));
    }
}
