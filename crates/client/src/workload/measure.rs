//! Shoppers at work: from the word to begin until the time, the operations or the patience of whoever began it are used
//! up.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;

use super::arrivals::{Arrivals, Timetable};
use super::dispatch::Dispatch;
use super::pace::{Pace, Pauses};
use super::pacer::Pacer;
use super::recorder::Recorder;
use super::settings::{Load, Settings};
use super::shopper::{Shared, Shopper};
use super::stop::Stop;
use super::tally::Tally;
use super::{Command, GRACE_AT_END, GRACE_AT_STOP, WorkloadError};
use crate::control::{Event, Pacing};

/// Time between two progress events.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);
/// A timetable begins so long after the word, so that all shoppers are in their places.
const LEAD: Duration = Duration::from_millis(50);

/// All shoppers of a process, and what makes them begin and end.
pub(super) struct Crowd {
    shoppers: JoinSet<()>,
    stop: Stop,
    tally: Arc<Tally>,
    /// When no operation begins any more.
    end: Option<Instant>,
    open_loop: Option<OpenLoop>,
}

struct OpenLoop {
    dispatch: Arc<Dispatch>,
    pacer: Pacer,
}

impl Crowd {
    /// Lets all shoppers begin.
    pub(super) async fn start(settings: &Arc<Settings>, tally: &Arc<Tally>, recorder: &Recorder) -> io::Result<Self> {
        let stop = Stop::default();
        let lead = if matches!(settings.load, Load::Open(_)) { LEAD } else { Duration::ZERO };
        let began = Instant::now() + lead;
        let shared = Shared {
            settings: Arc::clone(settings),
            stop: stop.clone(),
            tally: Arc::clone(tally),
            rows: recorder.sender(),
            measured_from: began + settings.warm_up,
            nonce: getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id())),
        };
        let (paces, open_loop) = match settings.load {
            Load::Closed { think_time } => (closed(think_time, &shared), None),
            Load::Open(arrivals) => open(arrivals, &shared, began).await?,
        };
        let shoppers = (0..).zip(paces).map(|(user, pace)| Shopper::new(user, pace, shared.clone()).run()).collect();
        let end = settings.end().map(|end| began + end);
        Ok(Self { shoppers, stop, tally: Arc::clone(tally), end, open_loop })
    }

    /// Reports progress until all shoppers have ended; says how a timetable was kept, if there was one.
    pub(super) async fn measure(
        mut self,
        commands: &mut UnboundedReceiver<Command>,
        report: &mut impl FnMut(&Event) -> io::Result<()>,
    ) -> Result<Option<Pacing>, WorkloadError> {
        let time_over = sleep_until_or_forever(self.end);
        tokio::pin!(time_over);
        let mut progress = tokio::time::interval(PROGRESS_INTERVAL);
        let mut reported = Ok(());
        let mut told = false;
        loop {
            tokio::select! {
                ended = self.shoppers.join_next() => match ended {
                    None => break,
                    Some(Err(error)) if error.is_panic() => {
                        // The others must be gone before the recorder is waited for: it waits for them.
                        self.shoppers.shutdown().await;
                        return Err(WorkloadError::Task(error.to_string()));
                    }
                    Some(_) => {}
                },
                () = &mut time_over, if !self.stop.is_draining() => self.stop.drain(GRACE_AT_END),
                command = commands.recv(), if !told => if command != Some(Command::Go) {
                    told = true;
                    self.end_now();
                },
                _ = progress.tick(), if reported.is_ok() => {
                    reported = report(&self.tally.progress());
                    if reported.is_err() {
                        // Whoever listened is gone.
                        self.end_now();
                    }
                }
            }
        }
        reported.map_err(WorkloadError::Report)?;
        match self.open_loop {
            Some(open_loop) => open_loop.finish(&self.tally).await.map(Some).map_err(WorkloadError::Pacer),
            None => Ok(None),
        }
    }

    fn end_now(&self) {
        self.stop.drain(GRACE_AT_STOP);
        if let Some(open_loop) = &self.open_loop {
            open_loop.dispatch.abandon();
        }
    }
}

impl OpenLoop {
    async fn finish(self, tally: &Tally) -> io::Result<Pacing> {
        let priority = self.pacer.finish().await?;
        tally.cut_off(self.dispatch.waiting());
        Ok(self.dispatch.pacing(priority))
    }
}

fn closed(think_time: Duration, shared: &Shared) -> Vec<Pace> {
    let Shared { settings, stop, measured_from, .. } = shared;
    (0..settings.users.get())
        .map(|user| Pace::Closed(Box::new(Pauses::new(user, think_time, settings, *measured_from, stop.clone()))))
        .collect()
}

async fn open(arrivals: Arrivals, shared: &Shared, began: Instant) -> io::Result<(Vec<Pace>, Option<OpenLoop>)> {
    let settings = &shared.settings;
    // Two of the same: one says when, the other tells those who had to wait when they were meant to begin.
    let timetable = || Timetable::new(arrivals, settings);
    let (dispatch, seats) = Dispatch::new(timetable(), began, shared.measured_from, settings.users.get());
    let pacer = Pacer::start(Arc::clone(&dispatch), timetable(), began, settings.end()).await?;
    Ok((seats.into_iter().map(Pace::Open).collect(), Some(OpenLoop { dispatch, pacer })))
}

async fn sleep_until_or_forever(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
