//! Job of a database thread: a function of the thread's state, its timing, and the way back for its result.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::command_error::{CommandError, CommandResult};
use crate::request_timing::RequestTiming;

/// Job of any result type, waiting for a database thread with state `S` or running on one.
pub(super) struct Queued<S> {
    job: Box<dyn Job<S>>,
    /// When the request submitted it.
    submitted: Instant,
    /// Database time of this job alone.
    own: Duration,
}

impl<S: 'static> Queued<S> {
    /// Returns a job that runs `work` and sends its result to `reply`.
    pub(super) fn new<T, W>(
        work: W,
        submitted: Instant,
        reply: oneshot::Sender<(CommandResult<T>, RequestTiming)>,
    ) -> Self
    where
        T: Send + 'static,
        W: Fn(&mut S) -> CommandResult<T> + Send + 'static,
    {
        let result = Err(CommandError::Broken("the job was not run".to_owned()));
        Self { job: Box::new(Task { work, result, reply }), submitted, own: Duration::ZERO }
    }

    /// Runs the job, adds the time to the job's own, and keeps its result. A repetition replaces the result.
    ///
    /// # Errors
    /// The job failed, or panicked, other than by being refused: its changes must be undone.
    pub(super) fn run(&mut self, state: &mut S) -> CommandResult<()> {
        let start = Instant::now();
        let outcome = self.job.run(state);
        self.own += start.elapsed();
        outcome
    }

    /// Returns the database time of this job alone.
    pub(super) fn own(&self) -> Duration {
        self.own
    }

    /// Returns whether the job was refused.
    pub(super) fn is_refused(&self) -> bool {
        self.job.is_refused()
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
trait Job<S>: Send {
    fn run(&mut self, state: &mut S) -> CommandResult<()>;
    fn is_refused(&self) -> bool;
    fn fail(&mut self, error: CommandError);
    fn reply(self: Box<Self>, timing: RequestTiming);
}

/// Job with a result of type `T`.
struct Task<T, W> {
    work: W,
    result: CommandResult<T>,
    reply: oneshot::Sender<(CommandResult<T>, RequestTiming)>,
}

impl<S, T, W> Job<S> for Task<T, W>
where
    T: Send,
    W: Fn(&mut S) -> CommandResult<T> + Send,
{
    fn run(&mut self, state: &mut S) -> CommandResult<()> {
        let result = catch_unwind(AssertUnwindSafe(|| (self.work)(state)));
        self.result = result.unwrap_or_else(|panic| Err(CommandError::panicked(&*panic)));
        match &self.result {
            Ok(_) | Err(CommandError::Refused(_)) => Ok(()),
            Err(error) => Err(error.clone()),
        }
    }

    fn is_refused(&self) -> bool {
        self.result.is_err()
    }

    fn fail(&mut self, error: CommandError) {
        self.result = Err(error);
    }

    fn reply(self: Box<Self>, timing: RequestTiming) {
        // The connection may be closed; the change remains.
        let _ = self.reply.send((self.result, timing));
    }
}
