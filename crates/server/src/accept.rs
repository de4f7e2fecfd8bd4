//! The two ports: accept connections up to the limits, and end them at shutdown.

mod address_limit;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::{ErrorBody, ErrorCode, Port};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::connection::stream::Stream;
use crate::connection::{Connection, Peer};
use crate::metrics::http;
use crate::shop::Shop;
use address_limit::{AddressLimit, AddressSlot};

/// Sockets on which the shop is served.
#[derive(Debug)]
pub struct Listeners {
    /// Socket of [`Port::Accounts`].
    pub accounts: TcpListener,
    /// Socket of [`Port::Shop`].
    pub shop: TcpListener,
    /// Socket of the metrics, if they are served.
    pub metrics: Option<TcpListener>,
}

/// Maximum number of connections being rejected with a response; further ones are closed without.
const MAX_REJECTIONS: usize = 256;

/// Pause after a failed accept: without free file descriptors the next one fails as well.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Interval of log lines about failed accepts.
const ACCEPT_LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Time after the grace period within which connections must have sent their last responses.
const LAST_RESPONSES_TIMEOUT: Duration = Duration::from_secs(2);

/// State shared by the connections of both ports.
struct ServerContext {
    shop: Shop,
    /// One permit per connection.
    slots: Arc<Semaphore>,
    /// Connections by address, if they are limited.
    addresses: Option<Arc<AddressLimit>>,
    /// One permit per connection being rejected.
    rejections: Arc<Semaphore>,
    /// Ends connections after their requests in flight.
    shutdown: CancellationToken,
}

/// Limits that a connection counts towards until it ends.
type Slots = (OwnedSemaphorePermit, Option<AddressSlot>);

/// Serves until `shutdown` is cancelled. Then requests that have arrived are executed up to the end of the grace period
/// and refused after it, and the database is closed.
pub(crate) async fn serve(shop: Shop, listeners: Listeners, shutdown: CancellationToken) {
    let max_connections = shop.connections.max_connections.get();
    let per_address = shop.connections.max_connections_per_address;
    let context = Arc::new(ServerContext {
        slots: Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS))),
        addresses: per_address.map(|limit| Arc::new(AddressLimit::new(limit))),
        rejections: Arc::new(Semaphore::new(MAX_REJECTIONS)),
        shutdown,
        shop,
    });
    let scrapes = listeners.metrics.map(|listener| {
        let context = Arc::clone(&context);
        tokio::spawn(async move { http::serve(listener, || context.shop.metrics_text()).await })
    });
    let (accounts, shop) = tokio::join!(
        accept(&context, listeners.accounts, Port::Accounts),
        accept(&context, listeners.shop, Port::Shop)
    );
    finish(&context.shop, accounts, shop).await;
    if let Some(scrapes) = scrapes {
        scrapes.abort();
        // Ends with the error of a cancelled task; its reference to the shop is dropped then.
        let _ = scrapes.await;
    }
    // Dropping the last reference waits for the database threads, which would block a thread of the runtime.
    if let Err(error) = tokio::task::spawn_blocking(move || drop(context)).await {
        tracing::error!(%error, "cannot close the database");
    }
    tracing::info!("stopped");
}

/// Waits for the end of all connections.
async fn finish(shop: &Shop, mut accounts: JoinSet<()>, mut other: JoinSet<()>) {
    let mut all_end = async || {
        while accounts.join_next().await.is_some() {}
        while other.join_next().await.is_some() {}
    };
    tracing::info!("shutting down");
    if tokio::time::timeout(shop.connections.shutdown_grace.as_duration(), all_end()).await.is_ok() {
        return;
    }
    tracing::warn!("grace period exceeded: refusing the requests that have not been started");
    shop.grace.end();
    if tokio::time::timeout(LAST_RESPONSES_TIMEOUT, all_end()).await.is_err() {
        tracing::warn!(connections = accounts.len() + other.len(), "closing connections that accept no responses");
        tokio::join!(accounts.shutdown(), other.shutdown());
    }
}

/// Accepts connections on one port until the shutdown, then closes the port. Returns the tasks of its connections.
async fn accept(context: &Arc<ServerContext>, listener: TcpListener, port: Port) -> JoinSet<()> {
    let mut connections = JoinSet::new();
    let mut errors = AcceptErrors::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = context.shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, address)) => admit(context, &mut connections, stream, Peer { address, port }),
            // The client closed the connection before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                errors.log(port, &error);
                tokio::time::sleep(ACCEPT_RETRY_INTERVAL).await;
            }
        }
    }
    // Clients of these connections may have sent requests.
    if let Err(error) = accept_queued(context, &mut connections, listener, port) {
        tracing::warn!(port = port.name(), %error, "cannot accept the last connections");
    }
    connections
}

/// Accepts the connections that the kernel has queued.
fn accept_queued(
    context: &Arc<ServerContext>,
    connections: &mut JoinSet<()>,
    listener: TcpListener,
    port: Port,
) -> io::Result<()> {
    let listener = listener.into_std()?;
    loop {
        match listener.accept() {
            Ok((stream, address)) => {
                stream.set_nonblocking(true)?;
                admit(context, connections, TcpStream::from_std(stream)?, Peer { address, port });
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Serves a connection, or rejects it if there are too many.
fn admit(context: &Arc<ServerContext>, connections: &mut JoinSet<()>, stream: TcpStream, peer: Peer) {
    // Responses are written in one go: Nagle's algorithm would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(peer = %peer.address, %error, "cannot set TCP_NODELAY");
    }
    let context = Arc::clone(context);
    match context.slots(peer.address.ip()) {
        Ok(slots) => {
            connections.spawn(async move {
                if let Some(stream) = context.encrypt(stream, peer).await {
                    Connection::new(stream, peer, &context.shop, &context.shutdown).serve().await;
                }
                drop(slots);
            });
        }
        Err(message) => {
            context.shop.metrics.connection_rejected(peer.port);
            let Ok(rejection) = Arc::clone(&context.rejections).try_acquire_owned() else { return };
            let error = ErrorBody::new(ErrorCode::Overloaded, message);
            connections.spawn(async move {
                if let Some(stream) = context.encrypt(stream, peer).await {
                    Connection::new(stream, peer, &context.shop, &context.shutdown).reject(error).await;
                }
                drop(rejection);
            });
        }
    }
}

impl ServerContext {
    /// Performs the TLS handshake, if TLS is configured. Returns `None` if it fails, or does not end within the time for a
    /// first request or before the shutdown.
    async fn encrypt(&self, stream: TcpStream, peer: Peer) -> Option<Stream> {
        let Some(tls) = &self.shop.tls else { return Some(Stream::Plain(stream)) };
        let tls = TlsAcceptor::from(Arc::clone(tls));
        let limit = self.shop.connections.first_request_timeout.as_duration();
        let accepted = tokio::select! {
            accepted = tokio::time::timeout(limit, tls.accept(stream)) => accepted,
            () = self.shutdown.cancelled() => return None,
        };
        match accepted {
            Ok(Ok(stream)) => return Some(Stream::Tls(Box::new(stream))),
            Ok(Err(error)) => tracing::debug!(peer = %peer.address, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(peer = %peer.address, "TLS handshake timed out"),
        }
        None
    }

    /// Counts a connection of `address`. Fails with a message for the client if there are too many.
    fn slots(&self, address: IpAddr) -> Result<Slots, &'static str> {
        let slot = Arc::clone(&self.slots).try_acquire_owned();
        let slot = slot.map_err(|_| "too many connections; try again later")?;
        let Some(limit) = &self.addresses else { return Ok((slot, None)) };
        let of_address = limit.acquire(address);
        Ok((slot, Some(of_address.ok_or("too many connections of this address; close others or try again later")?)))
    }
}

/// Failed accepts, of which at most one line a second is logged.
#[derive(Debug, Default)]
struct AcceptErrors {
    logged: Option<Instant>,
    /// Failures since the last line.
    failures: u64,
}

impl AcceptErrors {
    fn log(&mut self, port: Port, error: &io::Error) {
        self.failures += 1;
        if self.logged.is_none_or(|logged| logged.elapsed() >= ACCEPT_LOG_INTERVAL) {
            tracing::error!(port = port.name(), %error, failures = self.failures, "cannot accept connections, retrying");
            *self = Self { logged: Some(Instant::now()), failures: 0 };
        }
    }
}
