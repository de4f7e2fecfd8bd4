//! Writer thread: runs the waiting jobs in one transaction and sends their results after its commit.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::command_error::{CommandError, CommandResult};
use crate::store::job::{Job, Queued};

/// Returns the worker of the writer thread, which runs one batch of jobs per call.
pub(super) fn worker(connection: Connection) -> impl FnMut(&mut Vec<Queued>) + Send + 'static {
    let writer = Writer { connection };
    move |jobs| writer.run_batch(jobs)
}

struct Writer {
    connection: Connection,
}

impl Writer {
    fn run_batch(&self, jobs: &mut Vec<Queued>) {
        let start = Instant::now();
        if let Err(error) = self.transact(jobs) {
            // Fails if SQLite has already rolled back; in both cases no transaction is open.
            let _ = self.execute("ROLLBACK");
            for job in jobs.iter_mut() {
                job.fail(error.clone());
            }
        }
        let end = Instant::now();
        let own: Duration = jobs.iter().map(Queued::own).sum();
        // Start and commit of the transaction: every job needs them, and would wait for them if it were alone.
        let shared = (end - start).saturating_sub(own);
        for job in jobs.drain(..) {
            job.reply(shared, end);
        }
    }

    fn transact(&self, jobs: &mut [Queued]) -> CommandResult<()> {
        self.execute("BEGIN IMMEDIATE")?;
        for job in jobs {
            job.timed(|job| self.run_one(job)).0?;
        }
        self.execute("COMMIT")
    }

    /// Runs a job. An error concerns the whole transaction.
    fn run_one(&self, job: &mut dyn Job) -> CommandResult<()> {
        self.execute("SAVEPOINT job")?;
        let keep = job.run(&self.connection);
        if self.connection.is_autocommit() {
            // After some errors, such as a full disk, SQLite rolls back the whole transaction: later jobs would commit
            // separately.
            return Err(CommandError::Broken("the transaction ended before its commit".to_owned()));
        }
        if !keep {
            self.execute("ROLLBACK TO job")?;
        }
        self.execute("RELEASE job")
    }

    fn execute(&self, sql: &'static str) -> CommandResult<()> {
        self.connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let checkpoint = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        match checkpoint {
            Ok(0) => {}
            Ok(_) => tracing::warn!("another program uses the database: its log was not emptied, no data is lost"),
            Err(error) => tracing::warn!(%error, "the database's log was not emptied, no data is lost"),
        }
    }
}
