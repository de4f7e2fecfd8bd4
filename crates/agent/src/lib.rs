//! Programs in nodes on other machines: an *agent* in each node starts them, and one *hub*, on the driver's host,
//! passes on what the driver asks of the agents and what they answer.
//!
//! ```text
//! driver ── stdin and stdout of `testbed-agent hub` ── TCP ─┬─ `testbed-agent serve` ── its programs
//!                                                           └─ …
//! ```
//!
//! [`protocol`] is what they say to each other, and all that the driver needs from here. Left out on purpose: shared
//! disks (files come through the same connection), secrecy (that is the network's part), and any memory of the past: a
//! connection that breaks ends all that was started through it.

mod agent;
pub mod cli;
mod hub;
mod json_lines;
pub mod messages;
mod queue;
mod socket;
pub mod token;

/// Name of the program.
const NAME: &str = "testbed-agent";
