//! One request on its way through the shop: what a command may use, and what it has spent there.
//!
//! Commands reach the database and the password group only through here, so that no time in their queues goes
//! uncounted.

use std::time::Duration;

use rusqlite::Connection;

use crate::command_error::CommandResult;
use crate::request_timing::RequestTiming;
use crate::shop::Shop;

/// A request being carried out.
#[derive(Debug)]
pub(crate) struct RequestContext<'a> {
    shop: &'a Shop,
    timing: RequestTiming,
}

impl<'a> RequestContext<'a> {
    /// One that has spent nothing yet.
    pub(crate) fn new(shop: &'a Shop) -> Self {
        Self { shop, timing: RequestTiming::default() }
    }

    /// What it has spent so far.
    pub(crate) fn timing(&self) -> RequestTiming {
        self.timing
    }

    /// How long a token is valid after login.
    pub(crate) fn token_lifetime(&self) -> Duration {
        self.shop.token_lifetime
    }

    /// See [`crate::store::Store::read`].
    pub(crate) async fn read<T, W>(&mut self, work: W) -> CommandResult<T>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> CommandResult<T> + Send + 'static,
    {
        let done = self.shop.store.read(work).await;
        self.count(done)
    }

    /// See [`crate::store::Store::write`].
    pub(crate) async fn write<T, W>(&mut self, work: W) -> CommandResult<T>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> CommandResult<T> + Send + 'static,
    {
        let done = self.shop.store.write(work).await;
        self.count(done)
    }

    /// See [`crate::passwords::PasswordPool::hash`].
    pub(crate) async fn hash(&mut self, password: String) -> CommandResult<String> {
        let done = self.shop.passwords.hash(password).await;
        self.count(done)
    }

    /// See [`crate::passwords::PasswordPool::verify`].
    pub(crate) async fn verify(&mut self, password: String, stored: Option<String>) -> CommandResult<bool> {
        let done = self.shop.passwords.verify(password, stored).await;
        self.count(done)
    }

    fn count<T>(&mut self, (answer, timing): (CommandResult<T>, RequestTiming)) -> CommandResult<T> {
        self.timing += timing;
        answer
    }
}
