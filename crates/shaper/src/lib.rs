//! A user-space link emulator: delay, jitter, loss, rate and queue limit for the IPv4 packets that a node sends.
//!
//! It needs no netem in the kernel, only TUN: rules send this network namespace's outgoing packets into a TUN device,
//! [`core::Link`] decides for each whether and when it leaves, and a marked raw socket puts it back on the real
//! device. The condition, the core and the schedule are pure; everything that touches the kernel is behind
//! [`cli::main_from`].

mod calibration;
pub mod cli;
mod client;
mod compensation;
pub mod condition;
pub mod control;
pub mod core;
pub mod counters;
mod daemon;
mod detour;
mod engine;
mod netlink;
mod next_hop;
mod outlet;
mod output;
mod parcel;
mod rp_filter;
mod schedule;
mod scheduling;
mod shaper;
mod tun;

pub use condition::{Condition, Delay, Loss, QueueLimit, Rate};
pub use counters::Counters;
