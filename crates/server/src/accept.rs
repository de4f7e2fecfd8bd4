//! The two ports: accepting connections up to the limit, and ending them all at a shutdown.

use std::sync::Arc;
use std::time::Duration;

use protocol::{ErrorBody, ErrorCode, Port};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::{Connection, Peer};
use crate::shop::Shop;

/// The sockets that the shop is served on.
#[derive(Debug)]
pub struct Listeners {
    /// For [`Port::Accounts`].
    pub accounts: TcpListener,
    /// For [`Port::Shop`].
    pub shop: TcpListener,
}

/// Connections beyond the limit that are being told so; those beyond this are closed without a word.
const MAX_REJECTIONS: usize = 256;

/// How long to leave a port alone that has no file descriptors left to accept with.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the connections of both ports share.
struct ServerContext {
    shop: Shop,
    /// One permit for each connection.
    places: Arc<Semaphore>,
    /// One permit for each connection that is being rejected.
    rejections: Arc<Semaphore>,
    /// All connections.
    connections: TaskTracker,
    /// Asks connections to end after what they are doing.
    shutdown: CancellationToken,
    /// Ends connections at once.
    abort: CancellationToken,
}

/// Serves until `shutdown`, then waits for the requests in flight, but not longer than the grace period.
pub async fn serve(shop: Shop, listeners: Listeners, shutdown: CancellationToken) {
    let grace = shop.connections.shutdown_grace.as_duration();
    let context = Arc::new(ServerContext {
        places: Arc::new(Semaphore::new(shop.connections.max_connections.get().min(Semaphore::MAX_PERMITS))),
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
        tracing::warn!(connections = context.connections.len(), "grace period is over, connections are cut");
        context.abort.cancel();
        context.connections.wait().await;
    }
    // The last reference: closing the database waits for its threads, which a runtime's thread must not.
    if let Err(error) = tokio::task::spawn_blocking(move || drop(context)).await {
        tracing::error!(%error, "closing the database failed");
    }
    tracing::info!("stopped");
}

/// Accepts on one port until the shutdown; the port is closed after that.
async fn accept(context: &Arc<ServerContext>, listener: TcpListener, port: Port) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = context.shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => admit(context, stream, Peer { address, port }),
            // The client gave up before it was accepted.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::error!(port = port.name(), %error, "cannot accept connections, will try again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit(context: &Arc<ServerContext>, stream: TcpStream, peer: Peer) {
    // Responses are written whole, so waiting for more of them only costs time.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(peer = %peer.address, %error, "TCP_NODELAY was refused");
    }
    if let Ok(place) = Arc::clone(&context.places).try_acquire_owned() {
        spawn(context, place, stream, peer, None);
    } else if let Ok(rejection) = Arc::clone(&context.rejections).try_acquire_owned() {
        let message = "too many connections; try again later";
        spawn(context, rejection, stream, peer, Some(ErrorBody::new(ErrorCode::Overloaded, message)));
    }
}

/// Serves a connection for as long as it takes, or only tells it why it is not served.
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
        let work = async {
            match rejection {
                None => connection.serve().await,
                Some(error) => connection.reject(error).await,
            }
        };
        tokio::select! {
            biased;
            () = context.abort.cancelled() => {}
            () = work => {}
        }
        drop(permit);
    });
}
