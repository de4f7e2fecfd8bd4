//! The context of a command: the database and the password threads, with the time spent there.
//!
//! Commands reach both only through the context, so that every wait is counted.

use std::net::IpAddr;
use std::sync::RwLockReadGuard;
use std::time::{Duration, Instant};

use protocol::ErrorCode;
use rusqlite::Connection;

use crate::command_error::{CommandError, CommandResult};
use crate::passwords::PasswordPool;
use crate::passwords::failures::LoginFailures;
use crate::request_timing::RequestTiming;
use crate::store::Store;
use crate::store::product_cache::Products;
use crate::store::write_state::WriteState;

/// What commands use.
#[derive(Debug)]
pub(crate) struct Services {
    /// Database.
    pub(crate) store: Store,
    /// Password threads.
    pub(crate) passwords: PasswordPool,
    /// Failed logins.
    pub(crate) failures: LoginFailures,
    /// Lifetime of a token after login.
    pub(crate) token_lifetime: Duration,
}

/// One request being executed.
#[derive(Debug)]
pub(crate) struct RequestContext<'a> {
    services: &'a Services,
    /// Address of the client.
    address: IpAddr,
    timing: RequestTiming,
}

impl<'a> RequestContext<'a> {
    /// Returns the context of a request from `address` that has spent no time yet.
    pub(crate) fn new(services: &'a Services, address: IpAddr) -> Self {
        Self { services, address, timing: RequestTiming::default() }
    }

    /// Returns the address of the client.
    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    /// Returns the time spent so far.
    pub(crate) fn timing(&self) -> RequestTiming {
        self.timing
    }

    /// Returns the lifetime of a token after login.
    pub(crate) fn token_lifetime(&self) -> Duration {
        self.services.token_lifetime
    }

    /// Returns the products in memory. Keep them briefly, and not across an `await`.
    pub(crate) fn products(&self) -> RwLockReadGuard<'_, Products> {
        self.services.store.products().read()
    }

    /// Counts the time of [`Store::read`].
    pub(crate) async fn read<T, W>(&mut self, work: W) -> CommandResult<T>
    where
        T: Send + 'static,
        W: Fn(&mut Connection) -> CommandResult<T> + Send + 'static,
    {
        let done = self.services.store.read(work).await;
        self.count(done)
    }

    /// Counts the time of [`Store::write`].
    pub(crate) async fn write<T, W>(&mut self, work: W) -> CommandResult<T>
    where
        T: Send + 'static,
        W: Fn(&mut WriteState) -> CommandResult<T> + Send + 'static,
    {
        let done = self.services.store.write(work).await;
        self.count(done)
    }

    /// Counts the time of [`PasswordPool::hash`].
    pub(crate) async fn hash(&mut self, password: String) -> CommandResult<String> {
        let done = self.services.passwords.hash(self.address, password).await;
        self.count(done)
    }

    /// Counts the time of [`PasswordPool::verify`], and the failures of `account`. Fails without a verification if too
    /// many have failed: then the client must wait.
    pub(crate) async fn verify(
        &mut self,
        account: &str,
        password: String,
        stored: Option<String>,
    ) -> CommandResult<bool> {
        let Services { passwords, failures, .. } = self.services;
        let delay = failures.delay(account, self.address, Instant::now());
        if !delay.is_zero() {
            let seconds = delay.as_secs_f64().ceil();
            let message = format!("too many failed logins; try again in {seconds} s");
            return Err(CommandError::refused(ErrorCode::Overloaded, message));
        }
        let done = passwords.verify(self.address, password, stored).await;
        let matches = self.count(done)?;
        if matches {
            failures.succeeded(account, self.address);
        } else {
            failures.failed(account, self.address, Instant::now());
        }
        Ok(matches)
    }

    /// See [`PasswordPool::has_current_cost`].
    pub(crate) fn has_current_cost(&self, hash: &str) -> bool {
        self.services.passwords.has_current_cost(hash)
    }

    fn count<T>(&mut self, (result, timing): (CommandResult<T>, RequestTiming)) -> CommandResult<T> {
        self.timing += timing;
        result
    }
}
