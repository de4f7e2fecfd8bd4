//! Reader threads: each has a read-only connection and reads one snapshot per batch.

use std::path::Path;
use std::thread::available_parallelism;
use std::time::Instant;

use rusqlite::Connection;

use crate::command_error::{CommandError, CommandResult};
use crate::error::ServerError;
use crate::grace_period::GracePeriod;
use crate::store::job::Queued;
use crate::store::schema::open_for_reading;

/// Maximum number of reads per snapshot; small, so that all threads get some.
pub(super) const MAX_BATCH: usize = 16;

/// Worker of a reader thread.
pub(super) struct Reader {
    connection: Connection,
    grace: GracePeriod,
}

impl Reader {
    /// Returns one worker per thread.
    pub(super) fn all(path: &Path, grace: &GracePeriod) -> Result<Vec<Self>, ServerError> {
        let threads = available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8));
        let reader = |connection| Self { connection, grace: grace.clone() };
        (0..threads).map(|_| open_for_reading(path).map(reader)).collect()
    }

    /// Runs one batch of jobs and sends their results.
    pub(super) fn run_batch(&mut self, jobs: &mut Vec<Queued<Connection>>) {
        let start = Instant::now();
        // BEGIN saves SQLite a lock per statement; without it each statement would read its own snapshot.
        let transaction = if self.grace.has_ended() { Err(CommandError::ShuttingDown) } else { self.execute("BEGIN") };
        let shared = start.elapsed();
        for mut job in jobs.drain(..) {
            match &transaction {
                // A failed read has no changes to undo.
                Ok(()) => _ = job.run(&mut self.connection),
                Err(error) => job.fail(error.clone()),
            }
            job.reply(shared, Instant::now());
        }
        if let (Ok(()), Err(error)) = (&transaction, self.execute("COMMIT")) {
            tracing::error!(?error, "cannot end a read transaction");
            // Without it every later batch would fail to begin.
            let _ = self.execute("ROLLBACK");
        }
    }

    fn execute(&self, sql: &'static str) -> CommandResult<()> {
        self.connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    }
}
