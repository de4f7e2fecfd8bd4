//! The shop: ten commands on two TCP ports, kept in one SQLite file. `docs/protocol.md` says how to speak to it.
//!
//! ```text
//! accept ─► connection (frames in order) ─► shop ─► commands ─┬─► store: one writer thread, some reader threads
//!                                                             └─► passwords: a bounded group that hashes
//! ```
//! An request context goes with each request and counts what it waits and what the database takes; with `--trace`, the
//! trace writes down what TCP went through for each response.
//!
//! [`run`] is the whole server with its sockets, settings and shutdown as arguments; [`cli`] is the program around it.

mod accept;
mod catalogue;
pub mod cli;
mod clock;
mod command_error;
mod commands;
pub mod config;
mod connection;
mod consistency;
pub mod echo;
pub mod error;
mod initial_data;
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

pub use accept::{Listeners, serve};
pub use config::Config;
pub use consistency::check;
pub use error::ServerError;
pub use shop::Shop;

use tokio_util::sync::CancellationToken;

/// Opens the shop that `config` describes and serves it on `listeners` until `shutdown` is cancelled.
///
/// A password that had to be invented for the administrator is not shown to anybody here: set one in the
/// [`Config`], or use [`Shop::open`] and [`serve`], which is what this function does.
///
/// # Errors
/// When the database or the administrator's account cannot be made ready. After that only connections fail.
pub async fn run(listeners: Listeners, config: Config, shutdown: CancellationToken) -> Result<(), ServerError> {
    serve(Shop::open(&config)?, listeners, shutdown).await;
    Ok(())
}
