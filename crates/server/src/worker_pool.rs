//! A worker pool: threads that take jobs in batches from one bounded queue.
//!
//! The database and the password hashes live behind groups, so that nothing slow ever runs on the runtime's threads.
//! A panic in a batch costs that batch and nothing else. Dropping the group lets it finish its queue first.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::mpsc;

/// Some threads and the queue they work off.
pub(crate) struct WorkerPool<J> {
    /// Where jobs go; `None` once the group is stopping.
    queue: Option<mpsc::Sender<J>>,
    /// Its threads.
    threads: Vec<JoinHandle<()>>,
}

/// How a group's queue is worked off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueSettings {
    /// Name of the threads, as debuggers and `top -H` show it.
    pub(crate) name: &'static str,
    /// Jobs that may wait.
    pub(crate) capacity: usize,
    /// Jobs that one thread takes at once, at most.
    pub(crate) max_batch: usize,
}

impl<J: Send + 'static> WorkerPool<J> {
    /// Starts one thread for each of `workers`; a worker empties the batch it is given.
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

    /// Queues `job`, after waiting for room. `false` when the group is gone.
    pub(crate) async fn send(&self, job: J) -> bool {
        match &self.queue {
            Some(queue) => queue.send(job).await.is_ok(),
            None => false,
        }
    }

    /// Queues `job` unless the queue is full or the group gone.
    pub(crate) fn try_send(&self, job: J) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.try_send(job).is_ok())
    }
}

impl<J> Drop for WorkerPool<J> {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker thread ended in a panic");
            }
        }
    }
}

impl<J> fmt::Debug for WorkerPool<J> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("WorkerPool").field("threads", &self.threads).finish_non_exhaustive()
    }
}

/// One thread's life: until the queue is closed and empty.
fn work<J, W: FnMut(&mut Vec<J>)>(jobs: &Mutex<mpsc::Receiver<J>>, max_batch: usize, mut worker: W) {
    let mut batch = Vec::with_capacity(max_batch);
    while take_batch(jobs, max_batch, &mut batch) {
        if catch_unwind(AssertUnwindSafe(|| worker(&mut batch))).is_err() {
            tracing::error!("a worker thread panicked and goes on");
        }
        batch.clear();
    }
}

/// Waits for a job, then takes all that wait already, up to `max_batch`. `false` when there will be none any more.
fn take_batch<J>(jobs: &Mutex<mpsc::Receiver<J>>, max_batch: usize, batch: &mut Vec<J>) -> bool {
    // A poisoned lock is as good as a clean one: nothing but the queue is behind it.
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
                assert!(!panics, "a job that panics, as the test wants it");
                let _ = reply.send(size);
            }
        };
        WorkerPool::start(QueueSettings { name: "test", capacity, max_batch }, vec![worker]).unwrap()
    }

    #[tokio::test]
    async fn a_panic_costs_its_batch_and_not_the_crew() {
        let pool = pool(4, 1);
        let (reply, lost) = oneshot::channel();
        assert!(pool.send((true, reply)).await);
        assert!(lost.await.is_err());
        let (reply, kept) = oneshot::channel();
        assert!(pool.send((false, reply)).await);
        assert_eq!(kept.await, Ok(1));
    }

    #[tokio::test]
    async fn a_stopping_crew_finishes_its_queue() {
        let pool = pool(16, 4);
        let mut replies = Vec::new();
        for _ in 0..16 {
            let (reply, answer) = oneshot::channel();
            assert!(pool.try_send((false, reply)));
            replies.push(answer);
        }
        drop(pool);
        for reply in replies {
            assert!((1..=4).contains(&reply.await.unwrap()));
        }
    }
}
