//! The run in which a cell is measured.

use tokio_util::sync::CancellationToken;

use crate::run::admission::Permit;
use crate::run::probe_runner::BaselineLink;
use crate::scenario::Scenario;
use crate::store::run_directory::RunDirectory;

/// The run of a cell.
pub(super) struct CellContext<'a> {
    /// The run's id.
    pub(super) run_id: &'a str,
    /// The scenario.
    pub(super) scenario: &'a Scenario,
    /// Results directory.
    pub(super) directory: &'a RunDirectory,
    /// The unshaped link of the environment.
    pub(super) baseline: BaselineLink,
    /// Permit of the cell.
    pub(super) permit: &'a Permit<'a>,
    /// Cancelled by Ctrl-C or by a failure in any environment.
    pub(super) stop: &'a CancellationToken,
}
