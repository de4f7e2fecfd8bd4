//! The workload: virtual users that repeat iterations, and one row per operation.
//!
//! [`run`] prepares accounts, waits for the start signal, measures, stops and closes the CSV. It neither reads stdin
//! nor writes stdout: it receives commands through a channel and passes events to a function.

mod arrival_schedule;
mod arrival_timer;
mod backoff;
mod dispatcher;
#[cfg(test)]
mod golden_tests;
mod iteration;
mod iteration_plan;
mod latency_histogram;
mod operation_counts;
mod prepare;
pub(crate) mod recorder;
mod seed;
pub mod settings;
mod start_policy;
mod stop;
pub mod thread_scheduling;
mod user_group;
mod virtual_user;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use model::messages::workload::Event;
use model::settings::Accounts;
use operation_counts::OperationCounts;
use recorder::Recorder;
pub use settings::{Arrivals, Credentials, Load, Settings, Until, WorkloadConfig};
use user_group::UserGroup;

/// Time for operations in flight to end after the measurement window.
pub const GRACE_AT_END: Duration = Duration::from_secs(15);
/// Time for operations in flight to end after [`Command::Stop`].
pub const GRACE_AT_STOP: Duration = Duration::from_secs(1);

/// Command to a running workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Start signal.
    Go,
    /// Stop immediately. The end of the channel has the same effect.
    Stop,
}

/// Reason for a workload to fail. Failed operations are not a reason.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The CSV could not be written.
    #[error("cannot write the CSV: {0}")]
    Csv(io::Error),
    /// Events could not be written.
    #[error("cannot write events: {0}")]
    Report(io::Error),
    /// The prepare timeout expired before all accounts were registered.
    #[error("account '{username}' was not registered within --prepare-timeout; last error: {last}")]
    Prepare {
        /// User name of the account.
        username: String,
        /// Error of the last attempt.
        last: String,
    },
    /// The timer of an open loop failed.
    #[error("cannot follow the arrival schedule: {0}")]
    ArrivalTimer(io::Error),
    /// A task panicked.
    #[error("internal error: {0}")]
    Task(String),
}

/// Runs a workload, writes rows to `output`, and passes events to `report`.
///
/// Ends after the configured duration or number of operations, or at [`Command::Stop`]. No operation starts after that.
/// Operations in flight have [`GRACE_AT_END`] or [`GRACE_AT_STOP`] to end. Those that take longer have no row and are
/// counted in `unfinished` of the last event, because their outcome is unknown.
///
/// In an open loop, operations that are queued at the end count as in flight; at [`Command::Stop`] they are counted in
/// `unfinished`.
///
/// # Errors
/// The CSV cannot be written, `report` fails, or accounts cannot be prepared. An unreachable shop is not an error.
pub async fn run(
    settings: Settings,
    output: Box<dyn Write + Send>,
    mut commands: UnboundedReceiver<Command>,
    mut report: impl FnMut(&Event) -> io::Result<()>,
) -> Result<(), WorkloadError> {
    let settings = Arc::new(settings);
    let counts = Arc::new(OperationCounts::default());
    let recorder = Recorder::start(output, settings.client.clone()).map_err(WorkloadError::Csv)?;
    let measured = if prepare_until_go(&settings, &mut commands, &mut report).await? {
        match UserGroup::start(&settings, &counts, &recorder).await {
            Ok(group) => group.measure(&mut commands, &mut report).await,
            Err(error) => Err(WorkloadError::ArrivalTimer(error)),
        }
    } else {
        Ok(None)
    };
    recorder.finish().map_err(WorkloadError::Csv)?;
    report(&counts.done(measured?)).map_err(WorkloadError::Report)
}

/// Prepares accounts and waits for the start signal. Returns `false` if the workload was stopped before it.
async fn prepare_until_go(
    settings: &Arc<Settings>,
    commands: &mut UnboundedReceiver<Command>,
    report: &mut impl FnMut(&Event) -> io::Result<()>,
) -> Result<bool, WorkloadError> {
    let mut next = None;
    if settings.workload.accounts == Accounts::Prepared {
        let prepared = prepare::accounts(settings);
        tokio::pin!(prepared);
        loop {
            tokio::select! {
                result = &mut prepared => { result?; break }
                command = commands.recv() => match command {
                    Some(Command::Go) => next = Some(Command::Go),
                    Some(Command::Stop) | None => return Ok(false),
                }
            }
        }
    }
    report(&Event::Ready).map_err(WorkloadError::Report)?;
    let next = if next.is_some() { next } else { commands.recv().await };
    Ok(next == Some(Command::Go))
}
