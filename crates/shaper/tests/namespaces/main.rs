//! The real binary between real network namespaces. Needs root, `ip` and /dev/net/tun; prints why when it skips.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(clippy::print_stdout, reason = "a skipped test says why")]

mod commands;
mod lab;
mod lifecycle;
mod shaping;
mod traffic;
