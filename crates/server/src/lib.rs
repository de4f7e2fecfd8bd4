//! The shop: ten commands on two TCP ports, kept in one SQLite file. `docs/protocol.md` says how to speak to it.
//!
//! ```text
//! accept ─► connection (frames in order) ─► shop ─► commands ─┬─► store: one writer thread, some reader threads
//!                                                             └─► passwords: a bounded crew that hashes
//! ```
//! An errand goes with each request and counts what it waits and what the database takes; with `--trace`, the trace
//! writes down what TCP went through for each response.
//!
//! [`run`] is the whole server with its sockets, settings and shutdown as arguments; [`cli`] is the program around it.

pub mod cli;
pub mod config;
pub mod error;
pub mod settings;

mod accept;
mod audit;
mod catalogue;
mod clock;
mod commands;
mod connection;
mod crew;
pub mod echo;
mod envelope;
mod errand;
mod failure;
mod passwords;
mod shop;
mod spent;
mod store;
mod token;
mod trace;

pub use accept::Listeners;
pub use audit::{Audit, audit};
pub use config::Config;
pub use error::ServerError;
pub use shop::Shop;

use tokio_util::sync::CancellationToken;

/// Opens the shop that `config` describes and serves it on `listeners` until `shutdown` is cancelled.
///
/// A password that had to be invented for the administrator is not shown to anybody here: set one in the
/// [`Config`], or use [`Shop::open`] and [`Shop::serve`], which is what this function does.
///
/// # Errors
/// When the database or the administrator's account cannot be made ready. After that only connections fail.
pub async fn run(listeners: Listeners, config: Config, shutdown: CancellationToken) -> Result<(), ServerError> {
    Shop::open(&config)?.serve(listeners, shutdown).await;
    Ok(())
}
