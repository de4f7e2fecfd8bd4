//! The context of a command: the database and the password threads, with the time spent there.
//!
//! Commands reach both only through the context, so that every wait is counted.

use std::sync::RwLockReadGuard;
use std::time::Duration;

use rusqlite::Connection;

use crate::command_error::CommandResult;
use crate::passwords::PasswordPool;
use crate::request_timing::RequestTiming;
use crate::store::Store;
use crate::store::product_cache::Products;
use crate::store::write_state::WriteState;

/// One request being executed.
#[derive(Debug)]
pub(crate) struct RequestContext<'a> {
    store: &'a Store,
    passwords: &'a PasswordPool,
    token_lifetime: Duration,
    timing: RequestTiming,
}

impl<'a> RequestContext<'a> {
    /// Returns the context of a request that has spent no time yet.
    pub(crate) fn new(store: &'a Store, passwords: &'a PasswordPool, token_lifetime: Duration) -> Self {
        Self { store, passwords, token_lifetime, timing: RequestTiming::default() }
    }

    /// Returns the time spent so far.
    pub(crate) fn timing(&self) -> RequestTiming {
        self.timing
    }

    /// Returns the lifetime of a token after login.
    pub(crate) fn token_lifetime(&self) -> Duration {
        self.token_lifetime
    }

    /// Returns the products in memory. Keep them briefly, and not across an `await`.
    pub(crate) fn products(&self) -> RwLockReadGuard<'_, Products> {
        self.store.products().read()
    }

    /// Counts the time of [`Store::read`].
    pub(crate) async fn read<T, W>(&mut self, work: W) -> CommandResult<T>
    where
        T: Send + 'static,
        W: Fn(&mut Connection) -> CommandResult<T> + Send + 'static,
    {
        let done = self.store.read(work).await;
        self.count(done)
    }

    /// Counts the time of [`Store::write`].
    pub(crate) async fn write<T, W>(&mut self, work: W) -> CommandResult<T>
    where
        T: Send + 'static,
        W: Fn(&mut WriteState) -> CommandResult<T> + Send + 'static,
    {
        let done = self.store.write(work).await;
        self.count(done)
    }

    /// Counts the time of [`PasswordPool::hash`].
    pub(crate) async fn hash(&mut self, password: String) -> CommandResult<String> {
        let done = self.passwords.hash(password).await;
        self.count(done)
    }

    /// Counts the time of [`PasswordPool::verify`].
    pub(crate) async fn verify(&mut self, password: String, stored: Option<String>) -> CommandResult<bool> {
        let done = self.passwords.verify(password, stored).await;
        self.count(done)
    }

    /// See [`PasswordPool::has_current_cost`].
    pub(crate) fn has_current_cost(&self, hash: &str) -> bool {
        self.passwords.has_current_cost(hash)
    }

    fn count<T>(&mut self, (result, timing): (CommandResult<T>, RequestTiming)) -> CommandResult<T> {
        self.timing += timing;
        result
    }
}
