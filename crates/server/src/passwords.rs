//! Hashing passwords with Argon2id, a few at a time and on threads of their own.
//!
//! A hash is meant to be slow. The queue before the threads is bounded, so that a flood of logins is answered
//! `overloaded` instead of starving the orders. An unknown user's password is verified against a hash that belongs to
//! an unknown user, so that the response time does not reveal which accounts exist. (After the cost was changed it
//! does, for accounts made before: their hashes keep the cost that they were made at.)

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Version};
use protocol::ErrorCode;
use tokio::sync::oneshot;

use crate::command_error::{CommandError, CommandResult};
use crate::config::{HashCost, Passwords};
use crate::error::ServerError;
use crate::request_timing::RequestTiming;
use crate::token;
use crate::worker_pool::{QueueSettings, WorkerPool};

/// The threads that hash.
#[derive(Debug)]
pub(crate) struct PasswordPool {
    /// The threads and their queue.
    pool: WorkerPool<Job>,
    /// What new hashes cost.
    cost: HashCost,
    /// Hash of an unknown password, at the same cost as new ones: compared when the user does not exist.
    unknown_user: String,
}

/// What a thread does, and sends the answer.
type Job = Box<dyn FnOnce() + Send>;

impl PasswordPool {
    /// Starts the threads.
    pub(crate) fn start(settings: &Passwords) -> Result<Self, ServerError> {
        let random = token::random_hex::<32>()
            .map_err(|error| ServerError::System { step: "random bytes", reason: error.to_string() })?;
        let unknown_user = hash(&settings.cost, &random)
            .map_err(|error| ServerError::System { step: "password hashing", reason: format!("{error:?}") })?;
        let queue = QueueSettings { name: "passwords", capacity: settings.queue.get(), max_batch: 1 };
        let workers = vec![run_all; settings.workers.get()];
        let pool = WorkerPool::start(queue, workers)
            .map_err(|error| ServerError::System { step: "threads for passwords", reason: error.to_string() })?;
        Ok(Self { pool, cost: settings.cost.clone(), unknown_user })
    }

    /// Hashes a new password. Also tells how long that waited for a thread.
    pub(crate) async fn hash(&self, password: String) -> (CommandResult<String>, RequestTiming) {
        let cost = self.cost.clone();
        self.compute(move || hash(&cost, &password)).await
    }

    /// Whether `password` belongs to the hash `stored`; for `None`, an unknown user, it never does, and takes as long.
    /// Also tells how long that waited for a thread.
    pub(crate) async fn verify(
        &self,
        password: String,
        stored: Option<String>,
    ) -> (CommandResult<bool>, RequestTiming) {
        let known = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.unknown_user.clone());
        let (same, timing) = self.compute(move || verify(&password, &stored)).await;
        (same.map(|same| known && same), timing)
    }

    async fn compute<T, W>(&self, work: W) -> (CommandResult<T>, RequestTiming)
    where
        T: Send + 'static,
        W: FnOnce() -> CommandResult<T> + Send + 'static,
    {
        let submitted = Instant::now();
        let (reply, answer) = oneshot::channel();
        let job = move || {
            // When the connection is closed the result is not needed, and is not worth its cost.
            if !reply.is_closed() {
                let timing = RequestTiming::waiting_since(submitted);
                let result = catch_unwind(AssertUnwindSafe(work));
                let _ = reply.send((result.unwrap_or_else(|panic| Err(CommandError::panicked(&*panic))), timing));
            }
        };
        if !self.pool.try_send(Box::new(job)) {
            let message = "too many passwords are waiting to be checked; try again later";
            return (Err(CommandError::refused(ErrorCode::Overloaded, message)), RequestTiming::default());
        }
        let lost = || Err(CommandError::Broken("a password thread gave no answer".to_owned()));
        answer.await.unwrap_or_else(|_| (lost(), RequestTiming::waiting_since(submitted)))
    }
}

fn run_all(jobs: &mut Vec<Job>) {
    for job in jobs.drain(..) {
        job();
    }
}

/// The hash of `password` with a new salt, as a PHC string that names its parameters.
pub(crate) fn hash(cost: &HashCost, password: &str) -> CommandResult<String> {
    let hashed = Argon2::new(Algorithm::Argon2id, Version::V0x13, cost.params()).hash_password(password.as_bytes());
    let hash = hashed.map_err(|error| CommandError::Broken(format!("password hashing: {error}")))?;
    tracing::trace!(cost = %hash.params, "password hash computed");
    Ok(hash.to_string())
}

/// Whether `password` belongs to `stored`, with the parameters that `stored` itself names.
fn verify(password: &str, stored: &str) -> CommandResult<bool> {
    let unreadable = |error| CommandError::Broken(format!("stored password hash: {error}"));
    let stored = PasswordHash::new(stored).map_err(|error| unreadable(error.to_string()))?;
    let same = match Argon2::default().verify_password(password.as_bytes(), &stored) {
        Ok(()) => true,
        Err(argon2::password_hash::Error::PasswordInvalid) => false,
        Err(error) => return Err(unreadable(error.to_string())),
    };
    tracing::trace!(cost = %stored.params, "password hash computed");
    Ok(same)
}

#[cfg(test)]
impl PasswordPool {
    /// Blocks one thread until the returned sender sends or is dropped.
    pub(crate) async fn block_thread(&self) -> std::sync::mpsc::Sender<()> {
        let (release, hold) = std::sync::mpsc::channel::<()>();
        let (started, running) = oneshot::channel();
        let job = move || {
            let _ = started.send(());
            let _ = hold.recv();
        };
        assert!(self.pool.try_send(Box::new(job)));
        running.await.unwrap();
        release
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::time::Duration;

    use super::*;

    fn cheap() -> HashCost {
        HashCost::new(64, 1, 1).unwrap()
    }

    fn pool(cost: HashCost, queue: usize) -> PasswordPool {
        let queue = NonZeroUsize::new(queue).unwrap();
        PasswordPool::start(&Passwords { cost, workers: NonZeroUsize::MIN, queue }).unwrap()
    }

    #[tokio::test]
    async fn a_password_belongs_to_its_own_hash_only() {
        let pool = pool(cheap(), 4);
        let stored = pool.hash("password-1".into()).await.0.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{stored}");
        assert!(pool.verify("password-1".into(), Some(stored.clone())).await.0.unwrap());
        assert!(!pool.verify("password-2".into(), Some(stored)).await.0.unwrap());
        assert!(!pool.verify("password-1".into(), None).await.0.unwrap());
    }

    #[tokio::test]
    async fn a_hash_made_at_another_cost_still_verifies() {
        let stored = hash(&HashCost::new(128, 3, 2).unwrap(), "password-1").unwrap();
        assert!(pool(cheap(), 4).verify("password-1".into(), Some(stored)).await.0.unwrap());
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let pool = pool(cheap(), 1);
        let release = pool.block_thread().await;
        let (waiting, refused) = tokio::join!(pool.hash("waits for the thread".into()), async {
            let refused = pool.hash("finds no room".into()).await.0;
            release.send(()).unwrap();
            refused
        });
        waiting.0.unwrap();
        assert!(refused.is_err_and(|error| error.is_overloaded()));
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_and_the_thread_goes_on() {
        let pool = pool(cheap(), 4);
        let broken = pool.compute::<(), _>(|| panic!("as the test wants it")).await.0;
        assert!(matches!(broken, Err(CommandError::Broken(reason)) if reason.contains("as the test wants it")));
        pool.hash("password-1".into()).await.0.unwrap();
    }

    #[tokio::test]
    async fn an_unknown_user_costs_as_much_as_a_known_one() {
        let pool = pool(HashCost::new(96, 2, 3).unwrap(), 4);
        let stored = pool.hash("password-1".into()).await.0.unwrap();
        let cost = |hash: &str| PasswordHash::new(hash).unwrap().params.to_string();
        assert_eq!((cost(&pool.unknown_user), cost(&stored)), ("m=96,t=2,p=3".to_owned(), cost(&pool.unknown_user)));
    }

    #[tokio::test]
    async fn hashing_is_no_waiting_and_waiting_for_a_thread_is() {
        let pool = pool(cheap(), 4);
        let before = Instant::now();
        let (began, timing) = pool
            .compute(|| {
                let began = Instant::now();
                std::thread::sleep(Duration::from_millis(30));
                Ok(began)
            })
            .await;
        assert!(timing.queue <= began.unwrap() - before && timing.disk.is_zero(), "{timing:?}");
        let release = pool.block_thread().await;
        let ((waited, timing), held) = tokio::join!(pool.hash("password-1".into()), async {
            let queued = Instant::now();
            std::thread::sleep(Duration::from_millis(30));
            let held = queued.elapsed();
            release.send(()).unwrap();
            held
        });
        waited.unwrap();
        assert!(timing.queue >= held && timing.disk.is_zero(), "{timing:?}, held {held:?}");
    }
}
