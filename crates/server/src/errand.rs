//! One request on its way through the shop: what a command may use, and what it has spent there.
//!
//! Commands reach the database and the password crew only through here, so that no time in their queues goes uncounted.

use std::time::Duration;

use rusqlite::Connection;

use crate::failure::Answer;
use crate::shop::Shop;
use crate::spent::Spent;

/// A request being carried out.
#[derive(Debug)]
pub(crate) struct Errand<'a> {
    shop: &'a Shop,
    spent: Spent,
}

impl<'a> Errand<'a> {
    /// One that has spent nothing yet.
    pub(crate) fn new(shop: &'a Shop) -> Self {
        Self { shop, spent: Spent::default() }
    }

    /// What it has spent so far.
    pub(crate) fn spent(&self) -> Spent {
        self.spent
    }

    /// How long a token is valid after login.
    pub(crate) fn token_lifetime(&self) -> Duration {
        self.shop.token_lifetime
    }

    /// See [`crate::store::Store::read`].
    pub(crate) async fn read<T, W>(&mut self, work: W) -> Answer<T>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Answer<T> + Send + 'static,
    {
        let done = self.shop.store.read(work).await;
        self.count(done)
    }

    /// See [`crate::store::Store::write`].
    pub(crate) async fn write<T, W>(&mut self, work: W) -> Answer<T>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Answer<T> + Send + 'static,
    {
        let done = self.shop.store.write(work).await;
        self.count(done)
    }

    /// See [`crate::passwords::PasswordCrew::hash`].
    pub(crate) async fn hash(&mut self, password: String) -> Answer<String> {
        let done = self.shop.passwords.hash(password).await;
        self.count(done)
    }

    /// See [`crate::passwords::PasswordCrew::verify`].
    pub(crate) async fn verify(&mut self, password: String, stored: Option<String>) -> Answer<bool> {
        let done = self.shop.passwords.verify(password, stored).await;
        self.count(done)
    }

    fn count<T>(&mut self, (answer, spent): (Answer<T>, Spent)) -> Answer<T> {
        self.spent += spent;
        answer
    }
}
