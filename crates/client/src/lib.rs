//! The client: an interactive menu, and a workload that logs every operation.
//!
//! `transport` performs one operation and measures it; `workload` and `menu` choose the operations; `probe` measures the
//! link without the shop; `cli` is the program.

pub mod cli;
pub mod menu;
pub mod output;
pub mod probe;
pub mod transport;
pub mod workload;

/// Name of the program.
const NAME: &str = "shop-client";
