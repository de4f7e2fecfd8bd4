//! What the driver and the programs in nodes tell each other: one JSON object per line.

pub mod server;
pub mod workload;
