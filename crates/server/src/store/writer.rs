//! Writer thread: runs the waiting jobs in one transaction and sends their results after its commit.

use std::slice;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::command_error::{CommandError, CommandResult};
use crate::grace_period::GracePeriod;
use crate::metrics::Metrics;
use crate::store::checkpointer::Log;
use crate::store::job::Queued;
use crate::store::write_state::WriteState;

/// Size of the write-ahead log, in pages of 4 KiB, beyond which the writer itself empties it: 64 MiB. Below that the
/// checkpoint thread empties it, which works while the writer pauses.
const MAX_LOG_PAGES: usize = 16 * 1024;

/// Worker of the writer thread.
pub(super) struct Writer {
    state: WriteState,
    grace: GracePeriod,
    log: Arc<Log>,
    /// Size of the log beyond which the writer empties it, in pages.
    max_log_pages: usize,
    metrics: Arc<Metrics>,
    /// Runtime of the connections.
    runtime: Handle,
}

impl Writer {
    /// Returns the worker; panics outside a runtime.
    pub(super) fn new(state: WriteState, grace: GracePeriod, log: Arc<Log>, metrics: Arc<Metrics>) -> Self {
        Self { state, grace, log, max_log_pages: MAX_LOG_PAGES, metrics, runtime: Handle::current() }
    }

    /// Runs one batch of jobs and sends their results.
    pub(super) fn run_batch(&mut self, jobs: &mut Vec<Queued<WriteState>>) {
        let start = Instant::now();
        if let Err(error) = self.transact(jobs) {
            // The cause may be a single job: alone, the others succeed. A lock concerns all of them.
            let alone = jobs.len() > 1 && matches!(error, CommandError::Broken(_));
            for job in jobs.iter_mut() {
                if !alone {
                    job.fail(error.clone());
                } else if let Err(error) = self.transact(slice::from_mut(job)) {
                    job.fail(error);
                }
            }
        }
        self.metrics.committed(jobs.len());
        let end = Instant::now();
        let own: Duration = jobs.iter().map(Queued::own).sum();
        // Start and commit of the transaction: every job needs them, and would wait for them if it were alone.
        let shared = (end - start).saturating_sub(own);
        self.reply(std::mem::take(jobs), shared, end);
        self.bound_log();
    }

    /// Sends the results. A task of the runtime does so for several jobs: within the runtime, waking a connection costs
    /// less than from another thread, and the next batch does not wait for it.
    fn reply(&self, jobs: Vec<Queued<WriteState>>, shared: Duration, end: Instant) {
        let reply = move |jobs: Vec<Queued<WriteState>>| jobs.into_iter().for_each(|job| job.reply(shared, end));
        if jobs.len() > 1 {
            self.runtime.spawn(async move { reply(jobs) });
        } else {
            reply(jobs);
        }
    }

    /// Runs jobs in one transaction. An error concerns all of them, and their changes are undone.
    fn transact(&mut self, jobs: &mut [Queued<WriteState>]) -> CommandResult<()> {
        let done = self.run_all(jobs);
        if done.is_err() {
            self.state.roll_back();
        }
        match done {
            Err(CommandError::Locked) if self.grace.has_ended() => Err(CommandError::ShuttingDown),
            done => done,
        }
    }

    fn run_all(&mut self, jobs: &mut [Queued<WriteState>]) -> CommandResult<()> {
        self.state.begin()?;
        for job in jobs {
            self.run_one(job)?;
        }
        self.state.commit()
    }

    fn run_one(&mut self, job: &mut Queued<WriteState>) -> CommandResult<()> {
        if self.grace.has_ended() {
            job.fail(CommandError::ShuttingDown);
            return Ok(());
        }
        let before = self.state.change_count();
        job.run(&mut self.state)?;
        if !self.state.is_in_transaction() {
            // After some errors, such as a full disk, SQLite rolls back the whole transaction: later jobs would commit
            // separately.
            return Err(CommandError::Broken("the transaction ended before its commit".to_owned()));
        }
        if job.is_refused() && self.state.change_count() != before {
            return Err(CommandError::Broken("a refused request has changed the database".to_owned()));
        }
        Ok(())
    }

    /// Empties the write-ahead log if commits follow each other so fast that the checkpoint thread cannot. If other programs'
    /// readers prevent that, the next attempt follows when the log has grown by a quarter, because an attempt waits for them.
    fn bound_log(&mut self) {
        let pages = self.log.pages.load(Ordering::Relaxed);
        if pages <= self.max_log_pages {
            return;
        }
        self.max_log_pages = match self.checkpoint("PRAGMA wal_checkpoint(RESTART)") {
            Ok(true) => MAX_LOG_PAGES,
            Ok(false) => pages + pages / 4,
            Err(error) => {
                tracing::warn!(?error, "cannot empty the database's log");
                pages + pages / 4
            }
        };
    }

    /// Runs a checkpoint, after that of the checkpoint thread. Returns whether it was complete.
    fn checkpoint(&self, sql: &str) -> CommandResult<bool> {
        let _checkpoint = self.log.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(self.state.connection().query_row(sql, [], |row| row.get::<_, i64>(0))? == 0)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        match self.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)") {
            Ok(true) => {}
            Ok(false) => tracing::warn!("another program uses the database: its log was not emptied, no data is lost"),
            Err(error) => tracing::warn!(?error, "the database's log was not emptied, no data is lost"),
        }
    }
}
