//! Worker pool: threads that take batches of jobs from one bounded queue.
//!
//! Database access runs in pools, so that it never blocks the runtime's threads. A panic ends only
//! the batch in which it occurs. Dropping a pool first finishes its queue.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::mpsc;

/// Threads with one bounded queue.
pub(crate) struct WorkerPool<J> {
    /// Sender to the queue; `None` once the pool is stopping.
    queue: Option<mpsc::Sender<J>>,
    threads: Vec<JoinHandle<()>>,
}

/// Settings of a pool's queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueSettings {
    /// Name of the threads, for debuggers and `top -H`.
    pub(crate) name: &'static str,
    /// Maximum number of waiting jobs.
    pub(crate) capacity: usize,
    /// Maximum number of jobs that a thread takes in one batch.
    pub(crate) max_batch: usize,
}

impl<J: Send + 'static> WorkerPool<J> {
    /// Starts one thread per worker. A worker empties the batch that it receives.
    pub(crate) fn start<W>(settings: QueueSettings, workers: Vec<W>) -> std::io::Result<Self>
    where
        W: FnMut(&mut Vec<J>) + Send + 'static,
    {
        let (queue, jobs) = mpsc::channel(settings.capacity);
        let jobs = Arc::new(Mutex::new(jobs));
        let mut pool = Self { queue: Some(queue), threads: Vec::with_capacity(workers.len()) };
        for worker in workers {
            let jobs = Arc::clone(&jobs);
            let thread = std::thread::Builder::new().name(settings.name.to_owned());
            pool.threads.push(thread.spawn(move || work(&jobs, settings.max_batch, worker))?);
        }
        Ok(pool)
    }

    /// Returns the number of waiting jobs.
    pub(crate) fn queue_length(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.max_capacity() - queue.capacity())
    }

    /// Queues `job`, after waiting for space. Returns false if the pool has stopped.
    pub(crate) async fn send(&self, job: J) -> bool {
        match &self.queue {
            Some(queue) => queue.send(job).await.is_ok(),
            None => false,
        }
    }
}

impl<J> Drop for WorkerPool<J> {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker thread panicked");
            }
        }
    }
}

impl<J> fmt::Debug for WorkerPool<J> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("WorkerPool").field("threads", &self.threads).finish_non_exhaustive()
    }
}

/// Runs one thread until the queue is closed and empty.
fn work<J, W: FnMut(&mut Vec<J>)>(jobs: &Mutex<mpsc::Receiver<J>>, max_batch: usize, mut worker: W) {
    let mut batch = Vec::with_capacity(max_batch);
    while take_batch(jobs, max_batch, &mut batch) {
        if catch_unwind(AssertUnwindSafe(|| worker(&mut batch))).is_err() {
            tracing::error!("a batch of jobs panicked, its worker thread continues");
        }
        batch.clear();
    }
}

/// Waits for a job and takes all waiting ones, up to `max_batch`. Returns false if the queue is closed and empty.
fn take_batch<J>(jobs: &Mutex<mpsc::Receiver<J>>, max_batch: usize, batch: &mut Vec<J>) -> bool {
    // A poisoned lock is usable: it protects only the queue.
    let mut jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(first) = jobs.blocking_recv() else { return false };
    batch.push(first);
    while batch.len() < max_batch
        && let Ok(job) = jobs.try_recv()
    {
        batch.push(job);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    type Reply = oneshot::Sender<usize>;

    fn pool(capacity: usize, max_batch: usize) -> WorkerPool<(bool, Reply)> {
        let worker = |batch: &mut Vec<(bool, Reply)>| {
            let size = batch.len();
            for (panics, reply) in batch.drain(..) {
                assert!(!panics, "panic of the test");
                let _ = reply.send(size);
            }
        };
        WorkerPool::start(QueueSettings { name: "test", capacity, max_batch }, vec![worker]).unwrap()
    }

    #[tokio::test]
    async fn a_panic_ends_its_batch_and_not_the_pool() {
        let pool = pool(4, 1);
        let (reply, lost) = oneshot::channel();
        assert!(pool.send((true, reply)).await);
        assert!(lost.await.is_err());
        let (reply, kept) = oneshot::channel();
        assert!(pool.send((false, reply)).await);
        assert_eq!(kept.await, Ok(1));
    }

    #[tokio::test]
    async fn a_stopping_pool_finishes_its_queue() {
        let pool = pool(16, 4);
        let mut replies = Vec::new();
        for _ in 0..16 {
            let (reply, result) = oneshot::channel();
            assert!(pool.send((false, reply)).await);
            replies.push(result);
        }
        drop(pool);
        for reply in replies {
            assert!((1..=4).contains(&reply.await.unwrap()));
        }
    }
}
