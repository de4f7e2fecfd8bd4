//! The workload: virtual users who go through the shop again and again, and a row for every operation they tried.
//!
//! `run` is the whole life of it: prepare, wait for the word, measure, stop, close the CSV. It neither reads stdin nor
//! writes stdout; commands come in through a channel and events go out through a function.

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

/// How long operations in flight may take when the time is over.
pub const GRACE_AT_END: Duration = Duration::from_secs(15);
/// How long operations in flight may take when the workload is told to stop.
pub const GRACE_AT_STOP: Duration = Duration::from_secs(1);
/// What a workload can be told while it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Start the measured time.
    Go,
    /// Stop now; an end of the channel means the same.
    Stop,
}

/// Why a workload could not be carried out. What the network does is no reason.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The CSV could not be written.
    #[error("cannot write the CSV: {0}")]
    Csv(io::Error),
    /// Events could not be written.
    #[error("cannot report: {0}")]
    Report(io::Error),
    /// The accounts could not be made in time.
    #[error("account '{username}' could not be made in time; the last try: {last}")]
    Prepare {
        /// Which account.
        username: String,
        /// What the last try ended with.
        last: String,
    },
    /// The timer that an open loop's arrival schedule is kept by failed.
    #[error("cannot follow the arrival schedule: {0}")]
    ArrivalTimer(io::Error),
    /// A part of this program failed.
    #[error("internal failure: {0}")]
    Task(String),
}

/// Runs a workload; rows go to `output`, events to `report`.
///
/// Ends when the time or the operations are used up, or at [`Command::Stop`]. No operation starts after that; those
/// in flight have [`GRACE_AT_END`] or [`GRACE_AT_STOP`] to end and get their rows. What takes longer gets no row and is
/// counted in `unfinished` of the last event, because it is unknown how it would have ended.
///
/// In an open loop, operations that arrived in time and wait for a virtual user when the time is over are as those in
/// flight; at [`Command::Stop`] they are counted in `unfinished`.
///
/// # Errors
/// When the CSV can't be written, `report` fails, or accounts can't be prepared. The shop's absence is none.
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

/// Whether there is something to measure: not when the workload was stopped before.
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
