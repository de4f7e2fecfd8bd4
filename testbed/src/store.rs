//! What a run leaves: its directory, the manifest, `cells.csv`, and the lock that a living driver holds.

pub(crate) mod cell_row;
pub(crate) mod manifest;
pub(crate) mod order_check;
pub(crate) mod run_directory;
pub(crate) mod run_id;
