//! Hashing passwords with Argon2id, a few at a time and on threads of their own.
//!
//! A hash is meant to be slow. The queue before the threads is bounded, so that a flood of logins is answered
//! `overloaded` instead of starving the orders. An unknown user's password is verified against a hash that belongs to
//! nobody, so that the time of the answer does not tell who has an account. (After the cost was changed it does, for
//! accounts made before: their hashes keep the cost that they were made at.)

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Version};
use shop_protocol::ErrorCode;
use tokio::sync::oneshot;

use crate::config::{HashCost, Passwords};
use crate::crew::{Crew, QueueSettings};
use crate::error::ServerError;
use crate::failure::{Answer, Failure};
use crate::spent::Spent;
use crate::token;

/// The threads that hash.
#[derive(Debug)]
pub(crate) struct PasswordCrew {
    /// The threads and their queue.
    crew: Crew<Job>,
    /// What new hashes cost.
    cost: HashCost,
    /// The hash of a password that nobody knows, at the same cost as new ones.
    nobody: String,
}

/// What a thread does, and sends the answer.
type Job = Box<dyn FnOnce() + Send>;

impl PasswordCrew {
    /// Starts the threads.
    pub(crate) fn start(settings: &Passwords) -> Result<Self, ServerError> {
        let random = token::random_hex::<32>()
            .map_err(|error| ServerError::System { step: "random bytes", reason: error.to_string() })?;
        let nobody = hash(&settings.cost, &random)
            .map_err(|error| ServerError::System { step: "password hashing", reason: format!("{error:?}") })?;
        let queue = QueueSettings { name: "passwords", capacity: settings.queue.get(), max_batch: 1 };
        let workers = vec![run_all; settings.workers.get()];
        let crew = Crew::start(queue, workers)
            .map_err(|error| ServerError::System { step: "threads for passwords", reason: error.to_string() })?;
        Ok(Self { crew, cost: settings.cost.clone(), nobody })
    }

    /// Hashes a new password. Also tells how long that waited for a thread.
    pub(crate) async fn hash(&self, password: String) -> (Answer<String>, Spent) {
        let cost = self.cost.clone();
        self.compute(move || hash(&cost, &password)).await
    }

    /// Whether `password` belongs to the hash `stored`; for `None`, an unknown user, it never does, and takes as long.
    /// Also tells how long that waited for a thread.
    pub(crate) async fn verify(&self, password: String, stored: Option<String>) -> (Answer<bool>, Spent) {
        let known = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.nobody.clone());
        let (same, spent) = self.compute(move || verify(&password, &stored)).await;
        (same.map(|same| known && same), spent)
    }

    async fn compute<T, W>(&self, work: W) -> (Answer<T>, Spent)
    where
        T: Send + 'static,
        W: FnOnce() -> Answer<T> + Send + 'static,
    {
        let submitted = Instant::now();
        let (reply, answer) = oneshot::channel();
        let job = move || {
            // Nobody waits for it when the connection is gone; then it isn't worth its cost.
            if !reply.is_closed() {
                let spent = Spent::waiting_since(submitted);
                let result = catch_unwind(AssertUnwindSafe(work));
                let _ = reply.send((result.unwrap_or_else(|panic| Err(Failure::panicked(&*panic))), spent));
            }
        };
        if !self.crew.try_send(Box::new(job)) {
            let message = "too many passwords are waiting to be checked; try again later";
            return (Err(Failure::refused(ErrorCode::Overloaded, message)), Spent::default());
        }
        let lost = || Err(Failure::Broken("a password thread gave no answer".to_owned()));
        answer.await.unwrap_or_else(|_| (lost(), Spent::waiting_since(submitted)))
    }
}

fn run_all(jobs: &mut Vec<Job>) {
    for job in jobs.drain(..) {
        job();
    }
}

/// The hash of `password` with a new salt, as a PHC string that names its parameters.
pub(crate) fn hash(cost: &HashCost, password: &str) -> Answer<String> {
    let hashed = Argon2::new(Algorithm::Argon2id, Version::V0x13, cost.params()).hash_password(password.as_bytes());
    hashed.map(|hash| hash.to_string()).map_err(|error| Failure::Broken(format!("password hashing: {error}")))
}

/// Whether `password` belongs to `stored`, with the parameters that `stored` itself names.
fn verify(password: &str, stored: &str) -> Answer<bool> {
    let unreadable = |error| Failure::Broken(format!("stored password hash: {error}"));
    let stored = PasswordHash::new(stored).map_err(|error| unreadable(error.to_string()))?;
    match Argon2::default().verify_password(password.as_bytes(), &stored) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(unreadable(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroUsize;
    use std::time::{Duration, Instant};

    fn cheap() -> HashCost {
        HashCost::new(64, 1, 1).unwrap()
    }

    fn crew(cost: HashCost, queue: usize) -> PasswordCrew {
        let queue = NonZeroUsize::new(queue).unwrap();
        PasswordCrew::start(&Passwords { cost, workers: NonZeroUsize::MIN, queue }).unwrap()
    }

    #[tokio::test]
    async fn a_password_belongs_to_its_own_hash_only() {
        let crew = crew(cheap(), 4);
        let stored = crew.hash("password-1".into()).await.0.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{stored}");
        assert!(crew.verify("password-1".into(), Some(stored.clone())).await.0.unwrap());
        assert!(!crew.verify("password-2".into(), Some(stored)).await.0.unwrap());
        assert!(!crew.verify("password-1".into(), None).await.0.unwrap());
    }

    #[tokio::test]
    async fn a_hash_made_at_another_cost_still_verifies() {
        let stored = hash(&HashCost::new(128, 3, 2).unwrap(), "password-1").unwrap();
        assert!(crew(cheap(), 4).verify("password-1".into(), Some(stored)).await.0.unwrap());
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let crew = crew(cheap(), 1);
        let (release, hold) = std::sync::mpsc::channel::<()>();
        let (started, running) = oneshot::channel();
        let busy = crew.compute(move || {
            let _ = started.send(());
            Ok(hold.recv().is_ok())
        });
        let refused = async {
            running.await.unwrap();
            let (waiting, refused) = tokio::join!(crew.hash("waits for the thread".into()), async {
                let refused = crew.hash("finds no room".into()).await.0;
                release.send(()).unwrap();
                refused
            });
            waiting.0.unwrap();
            refused
        };
        let (busy, refused) = tokio::join!(busy, refused);
        assert!(busy.0.unwrap());
        assert!(matches!(refused, Err(Failure::Refused(error)) if error.code == ErrorCode::Overloaded));
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_and_the_thread_goes_on() {
        let crew = crew(cheap(), 4);
        let broken = crew.compute::<(), _>(|| panic!("as the test wants it")).await.0;
        assert!(matches!(broken, Err(Failure::Broken(reason)) if reason.contains("as the test wants it")));
        crew.hash("password-1".into()).await.0.unwrap();
    }

    #[tokio::test]
    async fn an_unknown_user_takes_as_long_as_a_wrong_password() {
        let crew = crew(HashCost::new(1024, 2, 1).unwrap(), 4);
        let stored = crew.hash("password-1".into()).await.0.unwrap();
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        // In turns, so that whatever else the machine does falls on both alike.
        for _ in 0..60 {
            known.push(time(&crew, Some(stored.clone())).await);
            unknown.push(time(&crew, None).await);
        }
        let (known, unknown) = (median(known), median(unknown));
        let ratio = known.as_secs_f64() / unknown.as_secs_f64();
        assert!((0.67..1.5).contains(&ratio), "known {known:?}, unknown {unknown:?}");
    }

    async fn time(crew: &PasswordCrew, stored: Option<String>) -> Duration {
        let start = Instant::now();
        assert!(!crew.verify("password-2".into(), stored).await.0.unwrap());
        start.elapsed()
    }

    fn median(mut times: Vec<Duration>) -> Duration {
        times.sort();
        times[times.len() / 2]
    }
}
