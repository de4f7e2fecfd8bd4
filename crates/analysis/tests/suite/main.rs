//! Tables and graphs of synthetic runs.
#![allow(clippy::unwrap_used, reason = "a test helper that fails, fails the test")]

mod graphs;
mod rows;
mod synthetic;
mod table;
