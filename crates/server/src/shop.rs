//! The shop without its sockets: prepared at the start, then executes requests.

use std::num::NonZeroU32;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;
use protocol::Request;
use rustls::ServerConfig;

use crate::buffer_budget::BufferBudget;
use crate::command_error::{CommandError, CommandResult};
use crate::commands;
use crate::config::{Config, Connections};
use crate::connection::Peer;
use crate::error::ServerError;
use crate::grace_period::GracePeriod;
use crate::initial_data;
use crate::metrics;
use crate::metrics::{Gauges, Metrics};
use crate::passwords::PasswordPool;
use crate::passwords::failures::LoginFailures;
use crate::request_context::{RequestContext, Services};
use crate::request_timing::RequestTiming;
use crate::secret::Secret;
use crate::store::Store;
use crate::store::schema::open_for_writing;
use crate::trace::Trace;

/// Counter that all threads write. It has its own cache lines, because neighbouring fields are only read.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counter(AtomicU64);

/// Shop that is ready to be served.
#[derive(Debug)]
pub(crate) struct Shop {
    services: Services,
    /// Limits of connections.
    pub(crate) connections: Connections,
    /// TLS of both ports, if configured.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// Recorder of TCP statistics per response, if requested.
    pub(crate) trace: Option<Trace>,
    /// Memory for large requests and unread responses.
    pub(crate) buffers: BufferBudget,
    /// Grace period of a shutdown.
    pub(crate) grace: GracePeriod,
    /// Counters.
    pub(crate) metrics: Arc<Metrics>,
    /// Responses created so far.
    exchanges: Counter,
    generated_password: Option<Secret>,
}

impl Shop {
    /// Prepares the database, with the administrator's account and the catalogue, and starts the threads.
    ///
    /// # Errors
    /// The database cannot be used, the administrator's account cannot be created, or a thread cannot be started.
    pub(crate) fn open(config: &Config) -> Result<Self, ServerError> {
        let tls = config.tls.as_ref().map(|tls| tls.identity.server_config(tls.version)).transpose()?;
        let (grace, metrics) = (GracePeriod::default(), Arc::<Metrics>::default());
        let passwords = PasswordPool::start(&config.passwords, &grace)?;
        let mut connection = open_for_writing(&config.database, config.storage.durability, &grace)?;
        let generated_password = initial_data::create_missing(&mut connection, config)?;
        let store = Store::start(&config.database, connection, &config.storage, &grace, &metrics)?;
        let trace = config.trace.as_deref().map(Trace::start).transpose()?;
        let failures = LoginFailures::new(NonZeroU32::new(config.passwords.max_failed_logins));
        let services = Services { store, passwords, failures, token_lifetime: config.token_lifetime.as_duration() };
        let connections = config.connections.clone();
        let buffers = BufferBudget::new(connections.buffer_budget_mib.get(), connections.max_connections.get());
        let exchanges = Counter::default();
        Ok(Self { services, connections, tls, trace, buffers, grace, metrics, exchanges, generated_password })
    }

    /// Returns the administrator's password if [`Shop::open`] generated it: none was configured, and the account did
    /// not exist. It is stored nowhere else: show it once.
    pub(crate) fn generated_password(&self) -> Option<&Secret> {
        self.generated_password.as_ref()
    }

    /// Returns the id of the next response: from 1, unique.
    pub(crate) fn next_exchange_id(&self) -> u64 {
        self.exchanges.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Returns all metrics as Prometheus text.
    pub(crate) fn metrics_text(&self) -> String {
        let (writer, readers) = self.services.store.queue_lengths();
        let passwords = self.services.passwords.queue_length();
        let queues = [("writer", writer), ("readers", readers), ("passwords", passwords)];
        metrics::exposition(&self.metrics, Gauges { queues, buffer_bytes: self.buffers.used_bytes() })
    }

    /// Executes a request of `peer`, and appends the JSON of its result to `output`; after an error `output`
    /// may have a part of it. Also returns the time spent in queues and database. A panic becomes an error.
    pub(crate) async fn execute(
        &self,
        request: Request,
        peer: Peer,
        output: &mut Vec<u8>,
    ) -> (CommandResult<()>, RequestTiming) {
        if self.grace.has_ended() {
            return (Err(CommandError::ShuttingDown), RequestTiming::default());
        }
        let mut context = RequestContext::new(&self.services, peer.address.ip());
        let caught = AssertUnwindSafe(commands::execute(&mut context, request, peer.port, output)).catch_unwind().await;
        (caught.unwrap_or_else(|panic| Err(CommandError::panicked(&*panic))), context.timing())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use futures_util::StreamExt;
    use futures_util::stream::FuturesUnordered;
    use protocol::request::OrderItem;
    use protocol::response::LoggedIn;

    use super::*;
    use crate::config::{HashCost, Passwords};

    async fn execute(shop: &Shop, request: Request) -> CommandResult<Vec<u8>> {
        let mut output = Vec::new();
        let peer = Peer { address: ([127, 0, 0, 1], 50_000).into(), port: request.port() };
        shop.execute(request, peer, &mut output).await.0.map(|()| output)
    }

    #[tokio::test]
    async fn a_flood_of_logins_is_refused_and_delays_no_order() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::new(directory.path().join("shop.db"));
        let cost = HashCost::new(64, 1, 1).unwrap();
        config.passwords =
            Passwords { cost, workers: NonZeroUsize::MIN, queue: NonZeroUsize::MIN, ..Passwords::default() };
        let shop = Shop::open(&config).unwrap();
        let (username, password) = ("ann".to_owned(), "password-1".to_owned());
        let register = Request::Register { username: username.clone(), password: password.clone() };
        execute(&shop, register).await.unwrap();
        let login = || execute(&shop, Request::Login { username: username.clone(), password: password.clone() });
        let token: LoggedIn = serde_json::from_slice(&login().await.unwrap()).unwrap();
        let release = shop.services.passwords.block_thread().await;
        let mut logins: FuturesUnordered<_> = (0..8).map(|_| login()).collect();
        let mut refused = Vec::new();
        let orders = async {
            let items = vec![OrderItem { product_id: 1, quantity: 1 }];
            for _ in 0..10 {
                let token = token.token.clone();
                let order = Request::PlaceOrder { token, items: items.clone(), idempotency_key: None };
                execute(&shop, order).await.unwrap();
            }
        };
        let refusals = async {
            while refused.len() < 7 {
                refused.push(logins.next().await.unwrap());
            }
        };
        tokio::join!(orders, refusals);
        assert!(refused.iter().all(|result| result.as_ref().is_err_and(CommandError::is_overloaded)), "{refused:?}");
        // The thread is free from here on, and verifies the password that waited in the queue.
        release.send(()).unwrap();
        logins.next().await.unwrap().unwrap();
    }
}
