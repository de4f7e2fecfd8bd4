//! Messages between the driver and the programs in nodes: one JSON object per line.

pub mod server;
pub mod workload;
