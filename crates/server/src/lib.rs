//! The shop: thirteen commands on two TCP ports, with one SQLite file. `docs/protocol.md` describes its protocol.
//!
//! ```text
//! accept ─► connection (frames in order) ─► shop ─► commands ─┬─► store: one writer thread, several reader threads
//!                                                             └─► passwords: bounded pool of hashing threads
//! ```
//! Each request has a context that counts its time in queues and database. With `--trace`, the server records TCP
//! statistics per response.
//!
//! [`run`] is the complete server with sockets, settings and shutdown as arguments; [`cli`] is the program.

mod accept;
mod buffer_budget;
mod catalogue;
pub mod cli;
mod clock;
mod command_error;
mod commands;
pub mod config;
mod connection;
mod consistency;
pub mod echo;
mod error;
mod grace_period;
mod initial_data;
mod metrics;
mod passwords;
mod request_context;
mod request_timing;
mod response_frame;
pub mod secret;
mod shop;
mod store;
mod token;
mod trace;
mod worker_pool;

pub use accept::Listeners;
pub use error::ServerError;

use config::Config;
use shop::Shop;
use tokio_util::sync::CancellationToken;

/// Name of the program.
const NAME: &str = "shop-server";

/// Opens the shop and serves it on `listeners` until `shutdown` is cancelled.
///
/// A generated administrator's password is lost: set one in `config`.
///
/// # Errors
/// The database cannot be used, the administrator's account cannot be created, or a thread cannot be started.
/// Later errors concern single connections only.
pub async fn run(listeners: Listeners, config: Config, shutdown: CancellationToken) -> Result<(), ServerError> {
    accept::serve(Shop::open(&config)?, listeners, shutdown).await;
    Ok(())
}
