//! The client: an interactive menu, and a workload that logs every operation.
//!
//! `wire` carries one operation to the shop and measures it; `workload` and `menu` decide what to ask for; `probe`
//! measures the link itself, without the shop. `cli` is the program around them.

pub mod cli;
pub mod menu;
pub mod output;
pub mod probe;
pub mod transport;
pub mod workload;

/// Name of the program.
const NAME: &str = "shop-client";
