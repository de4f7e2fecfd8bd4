//! Reader threads: each has a read-only connection and reads one snapshot per batch.

use std::path::Path;
use std::thread::available_parallelism;
use std::time::Instant;

use rusqlite::Connection;

use crate::command_error::CommandResult;
use crate::error::ServerError;
use crate::store::job::Queued;
use crate::store::schema::open_for_reading;

/// Maximum number of reads per snapshot; small, so that all threads get some.
pub(super) const MAX_BATCH: usize = 16;

/// Returns the workers of the reader threads, which run one batch of jobs per call.
pub(super) fn workers(path: &Path) -> Result<Vec<impl FnMut(&mut Vec<Queued>) + Send + 'static>, ServerError> {
    let threads = available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8));
    let worker = |connection: Connection| move |jobs: &mut Vec<Queued>| run_batch(&connection, jobs);
    (0..threads).map(|_| open_for_reading(path).map(worker)).collect()
}

fn run_batch(connection: &Connection, jobs: &mut Vec<Queued>) {
    let start = Instant::now();
    // BEGIN saves SQLite a lock per statement; without it each statement would read its own snapshot.
    let transaction = execute(connection, "BEGIN");
    let shared = start.elapsed();
    for mut job in jobs.drain(..) {
        let (_, end) = job.timed(|job| match &transaction {
            // A failed read has no changes to undo.
            Ok(()) => _ = job.run(connection),
            Err(error) => job.fail(error.clone()),
        });
        job.reply(shared, end);
    }
    if transaction.is_ok()
        && let Err(error) = execute(connection, "COMMIT")
    {
        tracing::error!(?error, "cannot end a read transaction");
        // Without it every later batch would fail to begin.
        let _ = execute(connection, "ROLLBACK");
    }
}

fn execute(connection: &Connection, sql: &'static str) -> CommandResult<()> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}
