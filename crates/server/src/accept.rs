//! The two ports: accepting connections up to the limit, and ending them all at a shutdown.

use std::sync::Arc;
use std::time::Duration;

use shop_protocol::{ErrorBody, ErrorCode, Port};
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
struct House {
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

/// Serves until `shutdown`, then waits for the requests under way, but not longer than the grace period.
pub(crate) async fn serve(shop: Shop, listeners: Listeners, shutdown: CancellationToken) {
    let grace = shop.connections.shutdown_grace.duration();
    let house = Arc::new(House {
        places: Arc::new(Semaphore::new(shop.connections.max_connections.get().min(Semaphore::MAX_PERMITS))),
        rejections: Arc::new(Semaphore::new(MAX_REJECTIONS)),
        connections: TaskTracker::new(),
        shutdown,
        abort: CancellationToken::new(),
        shop,
    });
    tokio::join!(accept(&house, listeners.accounts, Port::Accounts), accept(&house, listeners.shop, Port::Shop));
    tracing::info!(connections = house.connections.len(), "shutting down");
    house.connections.close();
    if tokio::time::timeout(grace, house.connections.wait()).await.is_err() {
        tracing::warn!(connections = house.connections.len(), "grace period is over, connections are cut");
        house.abort.cancel();
        house.connections.wait().await;
    }
    // The last reference: closing the database waits for its threads, which a runtime's thread must not.
    if let Err(error) = tokio::task::spawn_blocking(move || drop(house)).await {
        tracing::error!(%error, "closing the database failed");
    }
    tracing::info!("stopped");
}

/// Accepts on one port until the shutdown; the port is closed after that.
async fn accept(house: &Arc<House>, listener: TcpListener, port: Port) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = house.shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => admit(house, stream, Peer { address, port }),
            // The client gave up before it was accepted.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::error!(port = port.name(), %error, "cannot accept connections, will try again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit(house: &Arc<House>, stream: TcpStream, peer: Peer) {
    // Responses are written whole, so waiting for more of them only costs time.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(peer = %peer.address, %error, "TCP_NODELAY was refused");
    }
    if let Ok(place) = Arc::clone(&house.places).try_acquire_owned() {
        spawn(house, place, stream, peer, None);
    } else if let Ok(rejection) = Arc::clone(&house.rejections).try_acquire_owned() {
        let message = "too many connections; try again later";
        spawn(house, rejection, stream, peer, Some(ErrorBody::new(ErrorCode::Overloaded, message)));
    }
}

/// Serves a connection for as long as it takes, or only tells it why it is not served.
fn spawn(
    house: &Arc<House>,
    permit: OwnedSemaphorePermit,
    stream: TcpStream,
    peer: Peer,
    rejection: Option<ErrorBody>,
) {
    let house = Arc::clone(house);
    house.connections.clone().spawn(async move {
        let connection = Connection::new(stream, peer, &house.shop, &house.shutdown);
        let work = async {
            match rejection {
                None => connection.serve().await,
                Some(error) => connection.reject(error).await,
            }
        };
        tokio::select! {
            biased;
            () = house.abort.cancelled() => {}
            () = work => {}
        }
        drop(permit);
    });
}
