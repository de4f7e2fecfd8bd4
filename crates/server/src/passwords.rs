//! Password hashing with Argon2id, on dedicated threads.
//!
//! Hashes are slow by design. The queue is bounded and serves addresses in turn, so a flood of logins gets `overloaded`
//! and delays other clients little; the threads have a lower priority, so it does not delay orders. For
//! an unknown user the password is compared with a hash of random bytes, so the response time does not reveal which
//! accounts exist. It does for accounts with another hashing cost, up to their next login, which replaces the hash.

pub(crate) mod failures;
mod fair_queue;

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Version};
use protocol::ErrorCode;
use tokio::sync::oneshot;

use crate::command_error::{CommandError, CommandResult};
use crate::config::{HashCost, Passwords};
use crate::error::ServerError;
use crate::grace_period::GracePeriod;
use crate::request_timing::RequestTiming;
use crate::token;
use fair_queue::FairQueue;

/// Threads that hash passwords.
#[derive(Debug)]
pub(crate) struct PasswordPool {
    queue: Arc<FairQueue<Job>>,
    threads: Vec<JoinHandle<()>>,
    /// Cost of new hashes.
    cost: HashCost,
    /// Hash of random bytes with the same cost, compared if the user does not exist.
    unknown_user_hash: String,
    /// Grace period of a shutdown.
    grace: GracePeriod,
}

/// Computation that also sends its result, or the refusal.
type Job = Box<dyn FnOnce(Turn) + Send>;

/// How a job leaves the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// A thread runs it.
    Run,
    /// The queue was full.
    Displaced,
}

/// Niceness of the threads: others get CPU time first, but hashing does not starve.
const NICENESS: i32 = 10;

impl PasswordPool {
    /// Starts the threads.
    pub(crate) fn start(settings: &Passwords, grace: &GracePeriod) -> Result<Self, ServerError> {
        let random = token::random_hex::<32>()
            .map_err(|error| ServerError::System { step: "random bytes", reason: error.to_string() })?;
        let unknown_user_hash = hash(&settings.cost, &random)
            .map_err(|error| ServerError::System { step: "password hashing", reason: format!("{error:?}") })?;
        let queue = Arc::new(FairQueue::new(settings.queue.get()));
        let (cost, grace) = (settings.cost.clone(), grace.clone());
        let mut pool = Self { queue, threads: Vec::new(), cost, unknown_user_hash, grace };
        for _ in 0..settings.workers.get() {
            let queue = Arc::clone(&pool.queue);
            let thread = std::thread::Builder::new().name("passwords".to_owned()).spawn(move || run(&queue));
            pool.threads.push(
                thread.map_err(|error| ServerError::System {
                    step: "threads for passwords",
                    reason: error.to_string(),
                })?,
            );
        }
        Ok(pool)
    }

    /// Returns the number of hashes that wait for a thread.
    pub(crate) fn queue_length(&self) -> usize {
        self.queue.len()
    }

    /// Hashes a new password for a client at `address`. Also returns the time in the queue.
    pub(crate) async fn hash(&self, address: IpAddr, password: String) -> (CommandResult<String>, RequestTiming) {
        let cost = self.cost.clone();
        self.compute(address, move || hash(&cost, &password)).await
    }

    /// Returns whether `password` matches the hash `stored`, and the time in the queue. For `None`, an unknown user, it
    /// takes as long and never matches.
    pub(crate) async fn verify(
        &self,
        address: IpAddr,
        password: String,
        stored: Option<String>,
    ) -> (CommandResult<bool>, RequestTiming) {
        let known = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.unknown_user_hash.clone());
        let (matches, timing) = self.compute(address, move || verify(&password, &stored)).await;
        (matches.map(|matches| known && matches), timing)
    }

    /// Returns whether a stored hash has the cost of new ones.
    pub(crate) fn has_current_cost(&self, stored: &str) -> bool {
        let parameters = |hash: &str| PasswordHash::new(hash).ok().map(|hash| hash.params.to_string());
        parameters(stored) == parameters(&self.unknown_user_hash)
    }

    async fn compute<T, W>(&self, address: IpAddr, work: W) -> (CommandResult<T>, RequestTiming)
    where
        T: Send + 'static,
        W: FnOnce() -> CommandResult<T> + Send + 'static,
    {
        let submitted = Instant::now();
        let (reply, result) = oneshot::channel();
        let grace = self.grace.clone();
        let job = move |turn| {
            // Without a connection the result is not needed.
            if reply.is_closed() {
                return;
            }
            let timing = RequestTiming::waiting_since(submitted);
            let work = || match turn {
                Turn::Displaced => Err(too_many_waiting()),
                Turn::Run if grace.has_ended() => Err(CommandError::ShuttingDown),
                Turn::Run => work(),
            };
            let result = catch_unwind(AssertUnwindSafe(work));
            let _ = reply.send((result.unwrap_or_else(|panic| Err(CommandError::panicked(&*panic))), timing));
        };
        if let Some(displaced) = self.queue.push(address, Box::new(job)) {
            displaced(Turn::Displaced);
        }
        let lost = || Err(CommandError::Broken("a password thread returned no result".to_owned()));
        result.await.unwrap_or_else(|_| (lost(), RequestTiming::waiting_since(submitted)))
    }
}

impl Drop for PasswordPool {
    fn drop(&mut self) {
        self.queue.close();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a password thread panicked");
            }
        }
    }
}

fn run(queue: &FairQueue<Job>) {
    // SAFETY: setpriority(2) has no memory arguments; on Linux, 0 is the calling thread.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS) } != 0 {
        tracing::debug!(error = %std::io::Error::last_os_error(), "password threads keep their priority");
    }
    while let Some(job) = queue.pop() {
        job(Turn::Run);
    }
}

fn too_many_waiting() -> CommandError {
    let message = "too many passwords are waiting to be hashed; try again later";
    CommandError::refused(ErrorCode::Overloaded, message)
}

/// Returns the hash of `password` with a new salt, as a PHC string, which includes the parameters.
pub(crate) fn hash(cost: &HashCost, password: &str) -> CommandResult<String> {
    let hashed = Argon2::new(Algorithm::Argon2id, Version::V0x13, cost.params()).hash_password(password.as_bytes());
    let hash = hashed.map_err(|error| CommandError::Broken(format!("password hashing: {error}")))?;
    tracing::trace!(cost = %hash.params, "password hash computed");
    Ok(hash.to_string())
}

/// Returns whether `password` matches the PHC string `stored`.
fn verify(password: &str, stored: &str) -> CommandResult<bool> {
    let unreadable = |error| CommandError::Broken(format!("stored password hash: {error}"));
    let stored = PasswordHash::new(stored).map_err(|error| unreadable(error.to_string()))?;
    let matches = match Argon2::default().verify_password(password.as_bytes(), &stored) {
        Ok(()) => true,
        Err(argon2::password_hash::Error::PasswordInvalid) => false,
        Err(error) => return Err(unreadable(error.to_string())),
    };
    tracing::trace!(cost = %stored.params, "password hash computed");
    Ok(matches)
}

#[cfg(test)]
impl PasswordPool {
    /// Blocks one thread until the returned sender sends or is dropped.
    pub(crate) async fn block_thread(&self) -> std::sync::mpsc::Sender<()> {
        let (release, hold) = std::sync::mpsc::channel::<()>();
        let (started, running) = oneshot::channel();
        let job = move |turn| {
            assert_eq!(turn, Turn::Run);
            let _ = started.send(());
            let _ = hold.recv();
        };
        assert!(self.queue.push(IpAddr::from([127, 0, 0, 1]), Box::new(job)).is_none());
        running.await.unwrap();
        release
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::time::Duration;

    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn cheap() -> HashCost {
        HashCost::new(64, 1, 1).unwrap()
    }

    fn pool(cost: HashCost, queue: usize) -> PasswordPool {
        let queue = NonZeroUsize::new(queue).unwrap();
        let settings = Passwords { cost, workers: NonZeroUsize::MIN, queue, ..Passwords::default() };
        PasswordPool::start(&settings, &GracePeriod::default()).unwrap()
    }

    #[tokio::test]
    async fn a_password_matches_only_its_own_hash() {
        let pool = pool(cheap(), 4);
        let stored = pool.hash(HOME, "password-1".into()).await.0.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{stored}");
        assert!(pool.verify(HOME, "password-1".into(), Some(stored.clone())).await.0.unwrap());
        assert!(!pool.verify(HOME, "password-2".into(), Some(stored)).await.0.unwrap());
        assert!(!pool.verify(HOME, "password-1".into(), None).await.0.unwrap());
    }

    #[tokio::test]
    async fn a_hash_with_another_cost_still_matches() {
        let stored = hash(&HashCost::new(128, 3, 2).unwrap(), "password-1").unwrap();
        assert!(pool(cheap(), 4).verify(HOME, "password-1".into(), Some(stored)).await.0.unwrap());
    }

    #[tokio::test]
    async fn a_full_queue_rejects_immediately() {
        let pool = pool(cheap(), 1);
        let release = pool.block_thread().await;
        let (waiting, rejected) = tokio::join!(pool.hash(HOME, "waits in the queue".into()), async {
            let rejected = pool.hash(HOME, "finds the queue full".into()).await.0;
            release.send(()).unwrap();
            rejected
        });
        waiting.0.unwrap();
        assert!(rejected.is_err_and(|error| error.is_overloaded()));
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_thread_continues() {
        let pool = pool(cheap(), 4);
        let broken = pool.compute::<(), _>(HOME, || panic!("panic of the test")).await.0;
        assert!(matches!(broken, Err(CommandError::Broken(reason)) if reason.contains("panic of the test")));
        pool.hash(HOME, "password-1".into()).await.0.unwrap();
    }

    #[tokio::test]
    async fn the_hash_of_an_unknown_user_has_the_cost_of_others() {
        let pool = pool(HashCost::new(96, 2, 3).unwrap(), 4);
        let stored = pool.hash(HOME, "password-1".into()).await.0.unwrap();
        let cost = |hash: &str| PasswordHash::new(hash).unwrap().params.to_string();
        assert_eq!(
            (cost(&pool.unknown_user_hash), cost(&stored)),
            ("m=96,t=2,p=3".to_owned(), cost(&pool.unknown_user_hash))
        );
    }

    #[tokio::test]
    async fn queue_time_excludes_hashing_and_includes_waiting_for_a_thread() {
        let pool = pool(cheap(), 4);
        let before = Instant::now();
        let (start, timing) = pool
            .compute(HOME, || {
                let start = Instant::now();
                std::thread::sleep(Duration::from_millis(30));
                Ok(start)
            })
            .await;
        assert!(timing.queue <= start.unwrap() - before && timing.database.is_zero(), "{timing:?}");
        let release = pool.block_thread().await;
        let ((hashed, timing), held) = tokio::join!(pool.hash(HOME, "password-1".into()), async {
            let queued = Instant::now();
            std::thread::sleep(Duration::from_millis(30));
            let held = queued.elapsed();
            release.send(()).unwrap();
            held
        });
        hashed.unwrap();
        assert!(timing.queue >= held && timing.database.is_zero(), "{timing:?}, held {held:?}");
    }
}
