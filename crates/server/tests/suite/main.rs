//! The shop from its users' view: real binary, real sockets on the loopback, real database.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "tests and their helpers")]

#[allow(dead_code, reason = "shared with other tests and a bench, which use all of it")]
mod support;

mod accounts;
mod bad_input;
mod cli;
mod connections;
mod damaged_database;
mod in_process;
mod metrics;
mod orders;
mod passwords;
mod products;
mod protocol_page;
mod server_timing;
mod shutdown;
mod tls;
mod trace;
