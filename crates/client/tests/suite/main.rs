//! The client as a program and as a library, against a real shop.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod control;
mod load;
mod outcomes;
mod timing;
mod tls;
mod workload;
