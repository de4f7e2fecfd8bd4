//! The workload: virtual shoppers who go through the shop again and again, and a row for every operation they tried.
//!
//! `run` is the whole life of it: prepare, wait for the word, measure, stop, close the CSV. It neither reads stdin nor
//! writes stdout; commands come in through a channel and events go out through a function.

mod backoff;
mod decisions;
mod prepare;
pub(crate) mod recorder;
mod seed;
pub mod settings;
mod shopper;
mod stop;
mod tally;
mod turn;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;

use crate::control::Event;
use recorder::Recorder;
pub use settings::{Accounts, Credentials, Labels, Settings, Until};
use shopper::{Shared, Shopper};
use stop::Stop;
use tally::Tally;

/// How long operations under way may take when the time is over.
pub const GRACE_AT_END: Duration = Duration::from_secs(15);
/// How long operations under way may take when the workload is told to stop.
pub const GRACE_AT_STOP: Duration = Duration::from_secs(1);
/// Time between two progress events.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

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
    /// A part of this program failed.
    #[error("internal failure: {0}")]
    Task(String),
}

/// Runs a workload; rows go to `output`, events to `report`.
///
/// Ends when the time or the operations are used up, or at [`Command::Stop`]. No operation starts after that; those
/// under way have [`GRACE_AT_END`] or [`GRACE_AT_STOP`] to end and get their rows. What takes longer gets no row and is
/// counted in `cut_off` of the last event, because nobody knows how it would have ended.
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
    let tally = Arc::new(Tally::default());
    let recorder = Recorder::start(output, settings.labels.clone()).map_err(WorkloadError::Csv)?;
    let measured = if prepare_until_go(&settings, &mut commands, &mut report).await? {
        measure(&settings, &tally, &recorder, &mut commands, &mut report).await
    } else {
        Ok(())
    };
    recorder.finish().map_err(WorkloadError::Csv)?;
    measured?;
    report(&tally.done()).map_err(WorkloadError::Report)
}

/// Whether there is something to measure: not when the workload was stopped before.
async fn prepare_until_go(
    settings: &Arc<Settings>,
    commands: &mut UnboundedReceiver<Command>,
    report: &mut impl FnMut(&Event) -> io::Result<()>,
) -> Result<bool, WorkloadError> {
    let mut next = None;
    if let Accounts::Prepared { within } = settings.accounts {
        let prepared = prepare::accounts(settings, within);
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

async fn measure(
    settings: &Arc<Settings>,
    tally: &Arc<Tally>,
    recorder: &Recorder,
    commands: &mut UnboundedReceiver<Command>,
    report: &mut impl FnMut(&Event) -> io::Result<()>,
) -> Result<(), WorkloadError> {
    let epoch = Instant::now();
    let stop = Stop::default();
    let mut shoppers = start_shoppers(settings, tally, recorder, &stop, epoch);
    let time_over = sleep_or_forever(settings.until.elapsed);
    tokio::pin!(time_over);
    let mut progress = tokio::time::interval(PROGRESS_INTERVAL);
    let mut reported = Ok(());
    let mut told = false;
    loop {
        tokio::select! {
            ended = shoppers.join_next() => match ended {
                None => return reported.map_err(WorkloadError::Report),
                Some(Err(error)) if error.is_panic() => {
                    // The others must be gone before the recorder is waited for: it waits for them.
                    shoppers.shutdown().await;
                    return Err(WorkloadError::Task(error.to_string()));
                }
                Some(_) => {}
            },
            () = &mut time_over, if !stop.is_draining() => stop.drain(GRACE_AT_END),
            command = commands.recv(), if !told => if command != Some(Command::Go) {
                told = true;
                stop.drain(GRACE_AT_STOP);
            },
            _ = progress.tick(), if reported.is_ok() => {
                reported = report(&tally.progress());
                if reported.is_err() {
                    // Whoever listened is gone.
                    stop.drain(GRACE_AT_STOP);
                }
            }
        }
    }
}

fn start_shoppers(
    settings: &Arc<Settings>,
    tally: &Arc<Tally>,
    recorder: &Recorder,
    stop: &Stop,
    epoch: Instant,
) -> JoinSet<()> {
    let shared = Shared {
        settings: Arc::clone(settings),
        stop: stop.clone(),
        tally: Arc::clone(tally),
        rows: recorder.sender(),
        epoch,
        nonce: getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id())),
    };
    (0..settings.users.get()).map(|user| Shopper::new(user, shared.clone()).run()).collect()
}

async fn sleep_or_forever(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}
