//! The database: one thread writes, some threads read, and neither waits for the other (SQLite's WAL).
//!
//! Work is a closure over a connection. Writing closures that wait at the same time share one transaction and are
//! answered after its commit; each has a savepoint of its own, so that one that fails takes nothing else with it.

mod job;
pub(crate) mod orders;
pub(crate) mod products;
mod reader;
pub(crate) mod schema;
pub(crate) mod users;
mod writer;

use std::path::Path;
use std::time::Instant;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::command_error::{CommandError, CommandResult};
use crate::config::Storage;
use crate::error::ServerError;
use crate::request_timing::RequestTiming;
use crate::worker_pool::{QueueSettings, WorkerPool};
use job::Queued;

/// Jobs that may wait for a database thread; further ones wait in their connection.
const QUEUE: usize = 1024;

/// The database with its threads. Dropping it finishes what is queued and moves the log into the database file.
#[derive(Debug)]
pub(crate) struct Store {
    // Dropped in this order: the checkpoint at the writer's end wants no reader in its way.
    readers: WorkerPool<Queued>,
    writer: WorkerPool<Queued>,
}

impl Store {
    /// Takes over `connection`, which came from [`schema::open_for_writing`], and opens others for reading.
    pub(crate) fn start(path: &Path, connection: Connection, settings: &Storage) -> Result<Self, ServerError> {
        let threads =
            |error: std::io::Error| ServerError::System { step: "threads for the database", reason: error.to_string() };
        let readers = reader::workers(path)?;
        let queue = QueueSettings { name: "reader", capacity: QUEUE, max_batch: reader::MAX_BATCH };
        let readers = WorkerPool::start(queue, readers).map_err(threads)?;
        let queue = QueueSettings { name: "writer", capacity: QUEUE, max_batch: settings.max_batch.get() };
        let writer = WorkerPool::start(queue, vec![writer::worker(connection)]).map_err(threads)?;
        Ok(Self { readers, writer })
    }

    /// Runs `work` on a connection that only reads. Also tells what it spent.
    pub(crate) async fn read<T, W>(&self, work: W) -> (CommandResult<T>, RequestTiming)
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> CommandResult<T> + Send + 'static,
    {
        submit(&self.readers, work).await
    }

    /// Runs `work` in a transaction and answers after its commit. What a failed `work` did is undone.
    ///
    /// Also tells what it spent: in the database its own statements and the transaction's start (with waiting for
    /// other programs' locks) and commit, in the queue all else, with the statements of others in the transaction.
    pub(crate) async fn write<T, W>(&self, work: W) -> (CommandResult<T>, RequestTiming)
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> CommandResult<T> + Send + 'static,
    {
        submit(&self.writer, work).await
    }
}

async fn submit<T, W>(pool: &WorkerPool<Queued>, work: W) -> (CommandResult<T>, RequestTiming)
where
    T: Send + 'static,
    W: FnOnce(&Connection) -> CommandResult<T> + Send + 'static,
{
    let submitted = Instant::now();
    let broken = |reason: &str| (Err(CommandError::Broken(reason.to_owned())), RequestTiming::waiting_since(submitted));
    let (reply, answer) = oneshot::channel();
    if !pool.send(Queued::new(work, submitted, reply)).await {
        return broken("the database threads have ended");
    }
    answer.await.unwrap_or_else(|_| broken("a database thread gave no answer"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroUsize;
    use std::time::Duration;

    use crate::config::Durability;
    use crate::store::schema::open_for_writing;

    fn store() -> (tempfile::TempDir, Store) {
        store_with(&Storage::default(), |_| {})
    }

    /// A store whose writing connection was changed by `change`.
    fn store_with(storage: &Storage, change: impl FnOnce(&mut Connection)) -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.db");
        let mut connection = open_for_writing(&path, Durability::Normal).unwrap();
        change(&mut connection);
        let store = Store::start(&path, connection, storage).unwrap();
        (folder, store)
    }

    fn insert(connection: &Connection, name: &str) -> CommandResult<()> {
        connection.execute("INSERT INTO categories (name, products) VALUES (?1, 0)", [name])?;
        Ok(())
    }

    async fn names(store: &Store) -> Vec<String> {
        let read = store.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT name FROM categories ORDER BY name")?;
            Ok(statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?)
        });
        read.await.0.unwrap()
    }

    #[tokio::test]
    async fn a_job_that_fails_or_panics_undoes_its_own_work_only() {
        let (_folder, store) = store();
        let fails = store.write::<(), _>(|connection| {
            insert(connection, "undone")?;
            Err(CommandError::Broken("as the test wants it".into()))
        });
        let panics = store.write::<(), _>(|connection| {
            insert(connection, "undone too")?;
            panic!("as the test wants it")
        });
        let works = store.write(|connection| insert(connection, "kept"));
        let (fails, panics, works) = tokio::join!(fails, panics, works);
        assert!(matches!(fails.0, Err(CommandError::Broken(_))));
        assert!(matches!(panics.0, Err(CommandError::Broken(reason)) if reason.starts_with("panic")));
        works.0.unwrap();
        assert_eq!(names(&store).await, ["kept"]);
    }

    #[tokio::test]
    async fn a_reader_that_panics_goes_on() {
        let (_folder, store) = store();
        let panics = store.read::<(), _>(|_| panic!("as the test wants it")).await.0;
        assert!(matches!(panics, Err(CommandError::Broken(_))));
        assert!(names(&store).await.is_empty());
    }

    #[tokio::test]
    async fn a_job_that_breaks_the_transaction_spoils_its_batch_and_not_the_next() {
        let (_folder, store) = store();
        let breaks = store.write(|connection| {
            insert(connection, "lost")?;
            Ok(connection.execute_batch("ROLLBACK")?)
        });
        assert!(matches!(breaks.await.0, Err(CommandError::Broken(_))));
        store.write(|connection| insert(connection, "kept")).await.0.unwrap();
        assert_eq!(names(&store).await, ["kept"]);
    }

    #[tokio::test]
    async fn the_work_of_others_in_a_transaction_is_waiting_and_no_database_time() {
        const WORK: Duration = Duration::from_millis(100);
        let (_folder, store) = store();
        let (release, hold) = std::sync::mpsc::channel::<()>();
        let (started, running) = oneshot::channel();
        let slow = |name: &'static str| {
            store.write(move |connection| {
                std::thread::sleep(WORK);
                insert(connection, name)
            })
        };
        let busy = store.write(move |_| {
            let _ = started.send(());
            Ok(hold.recv().is_ok())
        });
        let pair = async {
            running.await.unwrap();
            // Both wait before the writer is released, so that they share the next transaction.
            tokio::join!(slow("one"), slow("two"), async { release.send(()).unwrap() })
        };
        let before = Instant::now();
        let (busy, ((_, one), (_, two), ())) = tokio::join!(busy, pair);
        let elapsed = before.elapsed();
        assert!(busy.0.unwrap());
        for timing in [one, two] {
            // Each works once and waits for the other once; nothing is counted twice.
            assert!(timing.disk >= WORK && timing.queue >= WORK && timing.disk + timing.queue <= elapsed, "{timing:?}");
        }
    }

    /// Writes five rows while another program holds the lock: the first write meets it, then the others queue behind.
    /// Returns what each spent, and three durations: until all waited, from then until the lock was released, and the
    /// rest.
    async fn writes_beside_a_lock(max_batch: usize) -> (Vec<RequestTiming>, [Duration; 3]) {
        let (met, lock_is_met) = std::sync::mpsc::channel();
        let storage = Storage { max_batch: NonZeroUsize::new(max_batch).unwrap(), ..Storage::default() };
        let (folder, store) = store_with(&storage, |connection| {
            let wait = move |_| {
                let _ = met.send(());
                std::thread::sleep(Duration::from_millis(1));
                true
            };
            connection.busy_handler(Some(wait)).unwrap();
        });
        let lock = Connection::open(folder.path().join("shop.db")).unwrap();
        lock.execute_batch("BEGIN IMMEDIATE").unwrap();
        let write = |name: &'static str| store.write(move |connection| insert(connection, name));
        let start = Instant::now();
        let ((_, first), (behind, queued, released)) = tokio::join!(write("first"), async {
            // SQLite has found the database locked: the first write has started, alone.
            lock_is_met.recv().unwrap();
            let behind = futures_util::future::join_all(["second", "third", "fourth", "fifth"].map(write));
            let (behind, (queued, released)) = tokio::join!(behind, async {
                let queued = Instant::now();
                std::thread::sleep(Duration::from_millis(50));
                let released = Instant::now();
                lock.execute_batch("ROLLBACK").unwrap();
                (queued, released)
            });
            (behind, queued, released)
        });
        let after = released.elapsed();
        assert_eq!(names(&store).await.len(), 5);
        let timing = std::iter::once(first).chain(behind.into_iter().map(|(_, timing)| timing)).collect();
        (timing, [queued - start, released - queued, after])
    }

    #[tokio::test]
    async fn a_lock_is_database_time_for_the_write_that_meets_it_and_waiting_for_those_behind() {
        for max_batch in [1, 128] {
            let (timing, [before, held, after]) = writes_beside_a_lock(max_batch).await;
            assert!(timing[0].disk >= held && timing[0].queue <= before, "{before:?} {held:?} {after:?} {timing:?}");
            for behind in &timing[1..] {
                assert!(
                    behind.queue >= held && !behind.disk.is_zero() && behind.disk <= after,
                    "{held:?} {after:?} {timing:?}"
                );
            }
        }
    }

    #[tokio::test]
    async fn readers_cannot_write() {
        let (_folder, store) = store();
        assert!(store.read(|connection| insert(connection, "never")).await.0.is_err());
    }

    #[tokio::test]
    async fn nothing_is_left_in_the_log_after_the_end() {
        let (folder, store) = store();
        store.write(|connection| insert(connection, "kept")).await.0.unwrap();
        drop(store);
        let log = folder.path().join("shop.db-wal");
        assert!(!log.exists() || log.metadata().unwrap().len() == 0);
    }
}
