//! The two ports: accept connections up to the limit, and end them at shutdown.

use std::sync::Arc;
use std::time::Duration;

use protocol::{ErrorBody, ErrorCode, Port};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::{Connection, Peer};
use crate::shop::Shop;

/// Sockets on which the shop is served.
#[derive(Debug)]
pub struct Listeners {
    /// Socket of [`Port::Accounts`].
    pub accounts: TcpListener,
    /// Socket of [`Port::Shop`].
    pub shop: TcpListener,
}

/// Maximum number of connections being rejected with a response; further ones are closed without.
const MAX_REJECTIONS: usize = 256;

/// Pause after a failed accept: without free file descriptors the next one fails as well.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// State shared by the connections of both ports.
struct ServerContext {
    shop: Shop,
    /// One permit per connection.
    slots: Arc<Semaphore>,
    /// One permit per connection being rejected.
    rejections: Arc<Semaphore>,
    /// Tasks of all connections.
    connections: TaskTracker,
    /// Ends connections after their requests in flight.
    shutdown: CancellationToken,
    /// Ends connections immediately.
    abort: CancellationToken,
}

/// Serves until `shutdown` is cancelled, waits for the requests in flight up to the grace period, and closes the
/// database.
pub(crate) async fn serve(shop: Shop, listeners: Listeners, shutdown: CancellationToken) {
    let grace = shop.connections.shutdown_grace.as_duration();
    let context = Arc::new(ServerContext {
        slots: Arc::new(Semaphore::new(shop.connections.max_connections.get().min(Semaphore::MAX_PERMITS))),
        rejections: Arc::new(Semaphore::new(MAX_REJECTIONS)),
        connections: TaskTracker::new(),
        shutdown,
        abort: CancellationToken::new(),
        shop,
    });
    tokio::join!(accept(&context, listeners.accounts, Port::Accounts), accept(&context, listeners.shop, Port::Shop));
    tracing::info!(connections = context.connections.len(), "shutting down");
    context.connections.close();
    if tokio::time::timeout(grace, context.connections.wait()).await.is_err() {
        tracing::warn!(connections = context.connections.len(), "grace period exceeded, closing connections");
        context.abort.cancel();
        context.connections.wait().await;
    }
    // Dropping the last reference waits for the database threads, which would block a thread of the runtime.
    if let Err(error) = tokio::task::spawn_blocking(move || drop(context)).await {
        tracing::error!(%error, "cannot close the database");
    }
    tracing::info!("stopped");
}

/// Accepts connections on one port until the shutdown, then closes the port.
async fn accept(context: &Arc<ServerContext>, listener: TcpListener, port: Port) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = context.shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => admit(context, stream, Peer { address, port }),
            // The client closed the connection before it was accepted.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::error!(port = port.name(), %error, "cannot accept connections, retrying");
                tokio::time::sleep(ACCEPT_RETRY_INTERVAL).await;
            }
        }
    }
}

fn admit(context: &Arc<ServerContext>, stream: TcpStream, peer: Peer) {
    // Responses are written in one go: Nagle's algorithm would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(peer = %peer.address, %error, "cannot set TCP_NODELAY");
    }
    if let Ok(slot) = Arc::clone(&context.slots).try_acquire_owned() {
        spawn(context, slot, stream, peer, None);
    } else if let Ok(rejection) = Arc::clone(&context.rejections).try_acquire_owned() {
        let message = "too many connections; try again later";
        spawn(context, rejection, stream, peer, Some(ErrorBody::new(ErrorCode::Overloaded, message)));
    }
}

/// Starts a task that serves a connection or rejects it.
fn spawn(
    context: &Arc<ServerContext>,
    permit: OwnedSemaphorePermit,
    stream: TcpStream,
    peer: Peer,
    rejection: Option<ErrorBody>,
) {
    let context = Arc::clone(context);
    context.connections.clone().spawn(async move {
        let connection = Connection::new(stream, peer, &context.shop, &context.shutdown);
        let served = async {
            match rejection {
                None => connection.serve().await,
                Some(error) => connection.reject(error).await,
            }
        };
        tokio::select! {
            biased;
            () = context.abort.cancelled() => {}
            () = served => {}
        }
        drop(permit);
    });
}
