//! Hub and agents as real programs, over real sockets, with real programs started by them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod backpressure;
mod connections;
mod files;
mod fixture;
mod programs;
