//! Input of a run, and its outcome.

use std::path::PathBuf;
use std::time::Instant;

use crate::emulator::EmulatorChoice;
use crate::placement::Placement;
use crate::run::jobs::Jobs;
use crate::run::resume::PreviousRun;
use crate::scenario::Scenario;
use crate::store::run_directory::RunDirectory;

/// A resolved run.
pub(crate) struct RunRequest {
    /// Scenario.
    pub(crate) scenario: Scenario,
    /// Seed of everything random.
    pub(crate) seed: u64,
    /// The run's id.
    pub(crate) run_id: String,
    /// The driver's temporary directory, locked while the driver lives.
    pub(crate) lock_dir: PathBuf,
    /// Directory in which results directories are created.
    pub(crate) results: PathBuf,
    /// The run to resume, if any.
    pub(crate) previous: Option<PreviousRun>,
    /// Requested emulator.
    pub(crate) emulator: EmulatorChoice,
    /// Maximum number of cells in parallel.
    pub(crate) jobs: Jobs,
    /// Why this backend was selected.
    pub(crate) backend_reason: String,
    /// Placement, as requested.
    pub(crate) placement: Placement,
    /// When the command started.
    pub(crate) started: Instant,
}

/// Outcome of a run, for the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunEnd {
    /// All cells are verified, the host was not overloaded, and the order check passed.
    Verified,
    /// A cell is unverified, failed or overloaded, or the order check did not pass.
    NotAllVerified,
    /// Interrupted by Ctrl-C.
    Interrupted,
}

/// A run that has ended, with its results saved.
pub(crate) struct FinishedRun {
    /// Its results directory.
    pub(crate) directory: RunDirectory,
    /// Whether any operation was measured: otherwise there is nothing to report.
    pub(crate) has_operations: bool,
    /// Its outcome.
    pub(crate) end: anyhow::Result<RunEnd>,
}
