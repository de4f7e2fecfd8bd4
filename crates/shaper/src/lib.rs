//! A user-space link emulator: delay, jitter, loss, rate and queue limit for the IPv4 packets that a node sends.
//!
//! It needs no netem in the kernel, only TUN: rules send this network namespace's outgoing packets into a TUN device,
//! [`link::Link`] decides for each whether and when it leaves, and a marked raw socket puts it back on the real
//! device. The condition, the core and the schedule are pure; everything that touches the kernel is behind
//! [`cli::main_from`].

mod calibration;
pub mod cli;
mod compensation;
mod control_client;
pub mod control_protocol;
pub mod counters;
mod daemon;
mod egress;
mod forwarder;
pub mod link;
mod neighbour_cache;
mod netlink;
mod output;
mod policy_routing;
mod rp_filter;
mod schedule;
mod shaper;
mod thread_scheduling;
mod tun;
mod tun_packet;

pub use counters::Counters;
