//! The database: one writer thread and several reader threads that do not wait for each other (SQLite's WAL).
//!
//! Work is a function of a connection. Writing functions in the queue share a transaction and return after its commit.
//! Products are read from a cache in memory, which the writer updates.

mod checkpointer;
pub(crate) mod damage;
mod database_file;
mod job;
pub(crate) mod orders;
pub(crate) mod product_cache;
pub(crate) mod products;
mod reader;
pub(crate) mod schema;
pub(crate) mod users;
pub(crate) mod write_state;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::command_error::{CommandError, CommandResult};
use crate::config::Storage;
use crate::error::ServerError;
use crate::grace_period::GracePeriod;
use crate::metrics::Metrics;
use crate::request_timing::RequestTiming;
use crate::worker_pool::{QueueSettings, WorkerPool};
use checkpointer::Checkpointer;
use job::Queued;
use product_cache::ProductCache;
use reader::Reader;
use write_state::WriteState;
use writer::Writer;

/// Maximum number of jobs in a queue; further ones wait in their connection.
const QUEUE_CAPACITY: usize = 1024;

/// Database with its threads. Dropping it finishes the queues and moves SQLite's log into the database file.
#[derive(Debug)]
pub(crate) struct Store {
    // Dropped in this order: readers would prevent the checkpoint at the end of the writer, and the checkpoint thread ends
    // after the writer.
    readers: WorkerPool<Queued<Connection>>,
    writer: WorkerPool<Queued<WriteState>>,
    _checkpointer: Checkpointer,
    products: Arc<ProductCache>,
}

impl Store {
    /// Starts the threads. `connection` comes from [`schema::open_for_writing`].
    pub(crate) fn start(
        path: &Path,
        mut connection: Connection,
        settings: &Storage,
        grace: &GracePeriod,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, ServerError> {
        let threads =
            |error: std::io::Error| ServerError::System { step: "threads for the database", reason: error.to_string() };
        let (checkpointer, log) = Checkpointer::start(path, &mut connection)?;
        let products = Arc::<ProductCache>::default();
        let state = WriteState::new(connection, Arc::clone(&products))
            .map_err(|error| ServerError::System { step: "reading the products", reason: format!("{error:?}") })?;
        let mut writer = Writer::new(state, grace.clone(), log, Arc::clone(metrics));
        let readers = Reader::all(path, grace)?.into_iter();
        let readers = readers.map(|mut reader| move |jobs: &mut Vec<_>| reader.run_batch(jobs)).collect();
        let queue = QueueSettings { name: "reader", capacity: QUEUE_CAPACITY, max_batch: reader::MAX_BATCH };
        let readers = WorkerPool::start(queue, readers).map_err(threads)?;
        let queue = QueueSettings { name: "writer", capacity: QUEUE_CAPACITY, max_batch: settings.max_batch.get() };
        let run_batch = move |jobs: &mut Vec<_>| writer.run_batch(jobs);
        let writer = WorkerPool::start(queue, vec![run_batch]).map_err(threads)?;
        Ok(Self { readers, writer, _checkpointer: checkpointer, products })
    }

    /// Returns the numbers of jobs that wait for the writer and for a reader.
    pub(crate) fn queue_lengths(&self) -> (usize, usize) {
        (self.writer.queue_length(), self.readers.queue_length())
    }

    /// Returns the products in memory.
    pub(crate) fn products(&self) -> &ProductCache {
        &self.products
    }

    /// Runs `work` on a read-only connection. Also returns its timing.
    pub(crate) async fn read<T, W>(&self, work: W) -> (CommandResult<T>, RequestTiming)
    where
        T: Send + 'static,
        W: Fn(&mut Connection) -> CommandResult<T> + Send + 'static,
    {
        submit(&self.readers, work).await
    }

    /// Runs `work` in a transaction and returns after its commit. A refused `work` must not have changed anything; the
    /// changes of one that failed are undone. If another one of the same transaction fails, `work` runs again.
    ///
    /// Also returns its timing. Database time: its own statements, the start of the transaction (including waits for
    /// other programs' locks) and its commit. Queue time: the rest, including other jobs of the transaction.
    pub(crate) async fn write<T, W>(&self, work: W) -> (CommandResult<T>, RequestTiming)
    where
        T: Send + 'static,
        W: Fn(&mut WriteState) -> CommandResult<T> + Send + 'static,
    {
        submit(&self.writer, work).await
    }
}

async fn submit<S, T, W>(pool: &WorkerPool<Queued<S>>, work: W) -> (CommandResult<T>, RequestTiming)
where
    S: 'static,
    T: Send + 'static,
    W: Fn(&mut S) -> CommandResult<T> + Send + 'static,
{
    let submitted = Instant::now();
    let broken = |reason: &str| (Err(CommandError::Broken(reason.to_owned())), RequestTiming::waiting_since(submitted));
    let (reply, result) = oneshot::channel();
    if !pool.send(Queued::new(work, submitted, reply)).await {
        return broken("the database threads have stopped");
    }
    result.await.unwrap_or_else(|_| broken("a database thread returned no result"))
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

    /// Returns a store whose writing connection was changed by `change`.
    fn store_with(storage: &Storage, change: impl FnOnce(&mut Connection)) -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shop.db");
        let grace = GracePeriod::default();
        let mut connection = open_for_writing(&path, Durability::Normal, &grace).unwrap();
        change(&mut connection);
        let store = Store::start(&path, connection, storage, &grace, &Arc::default()).unwrap();
        (directory, store)
    }

    fn insert(state: &mut WriteState, name: &str) -> CommandResult<()> {
        state.connection().execute("INSERT INTO categories (name, products) VALUES (?1, 0)", [name])?;
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
    async fn a_failed_or_panicked_job_undoes_only_its_own_changes() {
        let (_directory, store) = store();
        let fails = store.write::<(), _>(|state| {
            insert(state, "undone")?;
            Err(CommandError::Broken("error of the test".into()))
        });
        let panics = store.write::<(), _>(|state| {
            insert(state, "undone too")?;
            panic!("panic of the test")
        });
        let works = store.write(|state| insert(state, "kept"));
        let (fails, panics, works) = tokio::join!(fails, panics, works);
        assert!(matches!(fails.0, Err(CommandError::Broken(_))));
        assert!(matches!(panics.0, Err(CommandError::Broken(reason)) if reason.starts_with("panic")));
        works.0.unwrap();
        assert_eq!(names(&store).await, ["kept"]);
    }

    #[tokio::test]
    async fn a_reader_continues_after_a_panic() {
        let (_directory, store) = store();
        let panics = store.read::<(), _>(|_| panic!("panic of the test")).await.0;
        assert!(matches!(panics, Err(CommandError::Broken(_))));
        assert!(names(&store).await.is_empty());
    }

    #[tokio::test]
    async fn a_job_that_ends_the_transaction_fails_its_batch_and_not_the_next() {
        let (_directory, store) = store();
        let breaks = store.write(|state| {
            insert(state, "lost")?;
            Ok(state.connection().execute_batch("ROLLBACK")?)
        });
        assert!(matches!(breaks.await.0, Err(CommandError::Broken(_))));
        store.write(|state| insert(state, "kept")).await.0.unwrap();
        assert_eq!(names(&store).await, ["kept"]);
    }

    #[tokio::test]
    async fn other_jobs_of_a_transaction_count_as_queue_time() {
        const WORK: Duration = Duration::from_millis(100);
        let (_directory, store) = store();
        let (release, hold) = std::sync::mpsc::channel::<()>();
        let (started, mut running) = tokio::sync::mpsc::unbounded_channel();
        let slow = |name: &'static str| {
            store.write(move |state| {
                std::thread::sleep(WORK);
                insert(state, name)
            })
        };
        let busy = store.write(move |_| {
            let _ = started.send(());
            Ok(hold.recv().is_ok())
        });
        let pair = async {
            running.recv().await.unwrap();
            // Both are queued before the writer continues, so that they share the next transaction.
            tokio::join!(slow("one"), slow("two"), async { release.send(()).unwrap() })
        };
        let before = Instant::now();
        let (busy, ((_, one), (_, two), ())) = tokio::join!(busy, pair);
        let elapsed = before.elapsed();
        assert!(busy.0.unwrap());
        for timing in [one, two] {
            // Each works once and waits for the other once; no time counts twice.
            assert!(
                timing.database >= WORK && timing.queue >= WORK && timing.database + timing.queue <= elapsed,
                "{timing:?}"
            );
        }
    }

    /// Writes five rows while another program holds the lock: the first write waits for the lock, the others wait in the
    /// queue. Returns the timing of each, and three durations: until all wait, until the lock is released, and the rest.
    async fn writes_during_a_lock(max_batch: usize) -> (Vec<RequestTiming>, [Duration; 3]) {
        let (waiting, lock_is_awaited) = std::sync::mpsc::channel();
        let storage = Storage { max_batch: NonZeroUsize::new(max_batch).unwrap(), ..Storage::default() };
        let (directory, store) = store_with(&storage, |connection| {
            let wait = move |_| {
                let _ = waiting.send(());
                std::thread::sleep(Duration::from_millis(1));
                true
            };
            connection.busy_handler(Some(wait)).unwrap();
        });
        let lock = Connection::open(directory.path().join("shop.db")).unwrap();
        lock.execute_batch("BEGIN IMMEDIATE").unwrap();
        let write = |name: &'static str| store.write(move |state| insert(state, name));
        let start = Instant::now();
        let ((_, first), (others, queued, released)) = tokio::join!(write("first"), async {
            // SQLite has found the database locked: the first write has started without the others.
            lock_is_awaited.recv().unwrap();
            let others = futures_util::future::join_all(["second", "third", "fourth", "fifth"].map(write));
            let (others, (queued, released)) = tokio::join!(others, async {
                let queued = Instant::now();
                std::thread::sleep(Duration::from_millis(50));
                let released = Instant::now();
                lock.execute_batch("ROLLBACK").unwrap();
                (queued, released)
            });
            (others, queued, released)
        });
        let after = released.elapsed();
        assert_eq!(names(&store).await.len(), 5);
        let timing = std::iter::once(first).chain(others.into_iter().map(|(_, timing)| timing)).collect();
        (timing, [queued - start, released - queued, after])
    }

    #[tokio::test]
    async fn a_lock_is_database_time_for_the_first_write_and_queue_time_for_those_behind() {
        for max_batch in [1, 128] {
            let (timing, [before, held, after]) = writes_during_a_lock(max_batch).await;
            assert!(
                timing[0].database >= held && timing[0].queue <= before,
                "{before:?} {held:?} {after:?} {timing:?}"
            );
            for other in &timing[1..] {
                assert!(
                    other.queue >= held && !other.database.is_zero() && other.database <= after,
                    "{held:?} {after:?} {timing:?}"
                );
            }
        }
    }

    #[tokio::test]
    async fn readers_cannot_write() {
        let (_directory, store) = store();
        assert!(store.read(|connection| Ok(connection.execute("DELETE FROM users", [])?)).await.0.is_err());
    }

    #[tokio::test]
    async fn the_log_is_empty_after_the_end() {
        let (directory, store) = store();
        store.write(|state| insert(state, "kept")).await.0.unwrap();
        drop(store);
        let log = directory.path().join("shop.db-wal");
        assert!(!log.exists() || log.metadata().unwrap().len() == 0);
    }
}
