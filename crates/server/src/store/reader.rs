//! The reading threads: each has a connection that cannot write, and sees the database as of its batch's start.

use std::path::Path;
use std::thread::available_parallelism;

use rusqlite::Connection;

use super::job::BoxedJob;
use super::schema::open_for_reading;
use crate::error::ServerError;
use crate::failure::Answer;

/// Reads that share a snapshot; small, so that the other threads find some too.
pub(super) const MAX_BATCH: usize = 16;

/// What each of the reading threads does with each batch of jobs.
pub(super) fn workers(path: &Path) -> Result<Vec<impl FnMut(&mut Vec<BoxedJob>) + Send + 'static>, ServerError> {
    let threads = available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8));
    let worker = |connection: Connection| move |jobs: &mut Vec<BoxedJob>| run_batch(&connection, jobs);
    (0..threads).map(|_| open_for_reading(path).map(worker)).collect()
}

fn run_batch(connection: &Connection, jobs: &mut Vec<BoxedJob>) {
    // Beginning only spares SQLite a lock per statement; without it each statement sees the database as it is then.
    let shared = execute(connection, "BEGIN");
    for mut job in jobs.drain(..) {
        if let Err(failure) = &shared {
            job.spoil(failure.clone());
        } else {
            job.run(connection);
        }
        job.answer();
    }
    if shared.is_ok()
        && let Err(failure) = execute(connection, "COMMIT")
    {
        tracing::error!(?failure, "a reading transaction could not be ended");
    }
}

fn execute(connection: &Connection, sql: &'static str) -> Answer<()> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}
