//! The writing thread: as many jobs as wait, in one transaction, answered after its commit.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::command_error::{CommandError, CommandResult};
use crate::store::job::{Job, Queued};

/// What the writing thread does with each batch of jobs.
pub(super) fn worker(connection: Connection) -> impl FnMut(&mut Vec<Queued>) + Send + 'static {
    let writer = Writer { connection };
    move |jobs| writer.run_batch(jobs)
}

/// The connection that writes.
struct Writer {
    connection: Connection,
}

impl Writer {
    fn run_batch(&self, jobs: &mut Vec<Queued>) {
        let start = Instant::now();
        if let Err(failure) = self.transact(jobs) {
            // Fails when SQLite has rolled back by itself already; all that counts is that no transaction is open.
            let _ = self.execute("ROLLBACK");
            for job in jobs.iter_mut() {
                job.spoil(failure.clone());
            }
        }
        let end = Instant::now();
        let own: Duration = jobs.iter().map(Queued::own).sum();
        // The transaction's start and end: each of its jobs needs them, and would have them to itself if alone.
        let shared = (end - start).saturating_sub(own);
        for job in jobs.drain(..) {
            job.answer(shared, end);
        }
    }

    fn transact(&self, jobs: &mut [Queued]) -> CommandResult<()> {
        self.execute("BEGIN IMMEDIATE")?;
        for job in jobs {
            job.timed(|job| self.run_one(job)).0?;
        }
        self.execute("COMMIT")
    }

    /// Runs a job; an error is one of the transaction as a whole.
    fn run_one(&self, job: &mut dyn Job) -> CommandResult<()> {
        self.execute("SAVEPOINT job")?;
        let keep = job.run(&self.connection);
        if self.connection.is_autocommit() {
            // On a full disk and the like SQLite gives the whole transaction up, and what follows would commit alone.
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
            Ok(_) => tracing::warn!("another program uses the database: its log was not emptied, nothing is lost"),
            Err(error) => tracing::warn!(%error, "the database's log was not emptied, nothing is lost"),
        }
    }
}
