//! Files of a run: results directory, manifest, `cells.csv`, and the lock that its driver holds.

pub(crate) mod cell_row;
pub(crate) mod manifest;
pub(crate) mod order_check;
pub(crate) mod run_directory;
pub(crate) mod run_id;
pub(crate) mod run_lock;
pub(crate) mod server_metrics;
