//! A user-space link emulator: delay, jitter, loss, rate and queue limit for the IPv4 packets that a node sends.
//!
//! It requires TUN in the kernel, but not netem. Policy routing sends the outgoing packets of this network namespace
//! into a TUN device, [`link::Link`] decides for each packet whether and when it leaves, and a marked raw socket sends
//! it by the shaped device. Condition, link and schedule are pure; everything that calls the kernel is behind
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
#[cfg(test)]
mod fuzz;
pub mod link;
mod neighbour_cache;
mod netlink;
mod policy_routing;
mod rp_filter;
mod schedule;
mod shaper;
mod thread_scheduling;
mod tun;
mod tun_packet;

pub use counters::Counters;

/// Name of the program.
const NAME: &str = "shaper";
