//! The reading threads: each has a connection that cannot write, and sees the database as of its batch's start.

use std::path::Path;
use std::thread::available_parallelism;
use std::time::Instant;

use rusqlite::Connection;

use crate::command_error::CommandResult;
use crate::error::ServerError;
use crate::store::job::Queued;
use crate::store::schema::open_for_reading;

/// Reads that share a snapshot; small, so that the other threads find some too.
pub(super) const MAX_BATCH: usize = 16;

/// What each of the reading threads does with each batch of jobs.
pub(super) fn workers(path: &Path) -> Result<Vec<impl FnMut(&mut Vec<Queued>) + Send + 'static>, ServerError> {
    let threads = available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8));
    let worker = |connection: Connection| move |jobs: &mut Vec<Queued>| run_batch(&connection, jobs);
    (0..threads).map(|_| open_for_reading(path).map(worker)).collect()
}

fn run_batch(connection: &Connection, jobs: &mut Vec<Queued>) {
    let start = Instant::now();
    // BEGIN only saves SQLite a lock per statement; without it each statement sees the database as it is then.
    let begun = execute(connection, "BEGIN");
    let shared = start.elapsed();
    for mut job in jobs.drain(..) {
        let (_, end) = job.timed(|job| match &begun {
            // There is nothing to undo when a read fails.
            Ok(()) => _ = job.run(connection),
            Err(failure) => job.spoil(failure.clone()),
        });
        job.answer(shared, end);
    }
    if begun.is_ok()
        && let Err(failure) = execute(connection, "COMMIT")
    {
        tracing::error!(?failure, "a reading transaction could not be ended");
    }
}

fn execute(connection: &Connection, sql: &'static str) -> CommandResult<()> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}
