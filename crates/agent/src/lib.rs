//! Programs in nodes on other hosts: an *agent* in each node starts them, and one *hub* on the driver's host relays the
//! driver's requests to the agents and their events to the driver.
//!
//! ```text
//! driver ── stdin and stdout of `testbed-agent hub` ── TCP ─┬─ `testbed-agent serve` ── its programs
//!                                                           └─ …
//! ```
//!
//! [`messages`] defines the protocol; the driver needs nothing else from this crate. Omitted on purpose: shared disks
//! (files are sent through the same connection), encryption (the network provides it) and state across connections:
//! when a connection ends, all programs started through it are killed.

mod agent;
pub mod cli;
#[cfg(test)]
mod fuzz;
mod hub;
mod json_lines;
pub mod messages;
mod queue;
mod socket;
pub mod token;

/// Name of the program.
const NAME: &str = "testbed-agent";
