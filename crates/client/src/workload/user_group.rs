//! All virtual users of a process, from the start signal to the end of the workload.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;

use crate::workload::arrival_schedule::ArrivalSchedule;
use crate::workload::arrival_timer::ArrivalTimer;
use crate::workload::dispatcher::Dispatcher;
use crate::workload::operation_counts::OperationCounts;
use crate::workload::recorder::Recorder;
use crate::workload::settings::{Arrivals, Load, Settings};
use crate::workload::start_policy::{StartPolicy, ThinkTime};
use crate::workload::stop::Stop;
use crate::workload::virtual_user::{Shared, VirtualUser};
use crate::workload::{Command, GRACE_AT_END, GRACE_AT_STOP, WorkloadError};
use model::messages::workload::{ArrivalReport, Event};

/// Interval of progress events.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);
/// Time from the start signal to the start of an arrival schedule, in which all virtual users become ready.
const LEAD: Duration = Duration::from_millis(50);

/// Tasks of all virtual users of a process, with their stop signal and arrival timer.
pub(super) struct UserGroup {
    users: JoinSet<()>,
    stop: Stop,
    counts: Arc<OperationCounts>,
    /// Time at which no further operation starts.
    end: Option<Instant>,
    open_loop: Option<OpenLoop>,
}

struct OpenLoop {
    dispatcher: Arc<Dispatcher>,
    timer: ArrivalTimer,
}

impl UserGroup {
    /// Starts all virtual users.
    pub(super) async fn start(
        settings: &Arc<Settings>,
        counts: &Arc<OperationCounts>,
        recorder: &Recorder,
    ) -> io::Result<Self> {
        let stop = Stop::default();
        let lead = if matches!(settings.load(), Load::Open(_)) { LEAD } else { Duration::ZERO };
        let start = Instant::now() + lead;
        let shared = Shared {
            settings: Arc::clone(settings),
            stop: stop.clone(),
            counts: Arc::clone(counts),
            rows: recorder.sender(),
            measured_from: start + settings.warm_up,
            nonce: getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id())),
        };
        let (policies, open_loop) = match settings.load() {
            Load::Closed { think_time } => (closed(think_time, &shared), None),
            Load::Open(arrivals) => open(arrivals, &shared, start).await?,
        };
        let users =
            (0..).zip(policies).map(|(user, policy)| VirtualUser::new(user, policy, shared.clone()).run()).collect();
        let end = settings.end().map(|end| start + end);
        Ok(Self { users, stop, counts: Arc::clone(counts), end, open_loop })
    }

    /// Reports progress until all virtual users have ended. Returns the arrival report of an open loop.
    pub(super) async fn measure(
        mut self,
        commands: &mut UnboundedReceiver<Command>,
        report: &mut impl FnMut(&Event) -> io::Result<()>,
    ) -> Result<Option<ArrivalReport>, WorkloadError> {
        let time_over = sleep_until_or_forever(self.end);
        tokio::pin!(time_over);
        let mut progress = tokio::time::interval(PROGRESS_INTERVAL);
        let mut reported = Ok(());
        let mut is_stopping = false;
        loop {
            tokio::select! {
                ended = self.users.join_next() => match ended {
                    None => break,
                    Some(Err(error)) if error.is_panic() => {
                        // The recorder ends only after all virtual users have dropped their senders.
                        self.users.shutdown().await;
                        return Err(WorkloadError::Task(error.to_string()));
                    }
                    Some(_) => {}
                },
                () = &mut time_over, if !self.stop.is_draining() => self.stop.drain(GRACE_AT_END),
                command = commands.recv(), if !is_stopping => if command != Some(Command::Go) {
                    is_stopping = true;
                    self.stop_now();
                },
                _ = progress.tick(), if reported.is_ok() => {
                    reported = report(&self.counts.progress());
                    if reported.is_err() {
                        // The driver, which receives the events, has ended.
                        self.stop_now();
                    }
                }
            }
        }
        reported.map_err(WorkloadError::Report)?;
        match self.open_loop {
            Some(open_loop) => open_loop.finish(&self.counts).await.map(Some).map_err(WorkloadError::ArrivalTimer),
            None => Ok(None),
        }
    }

    fn stop_now(&self) {
        self.stop.drain(GRACE_AT_STOP);
        if let Some(open_loop) = &self.open_loop {
            open_loop.dispatcher.abandon();
        }
    }
}

impl OpenLoop {
    async fn finish(self, counts: &OperationCounts) -> io::Result<ArrivalReport> {
        let scheduling = self.timer.finish().await?;
        counts.unfinished(self.dispatcher.backlog());
        Ok(self.dispatcher.arrivals(scheduling))
    }
}

fn closed(think_time: Duration, shared: &Shared) -> Vec<StartPolicy> {
    let Shared { settings, stop, measured_from, .. } = shared;
    (0..settings.users().get())
        .map(|user| {
            StartPolicy::Closed(Box::new(ThinkTime::new(user, think_time, settings, *measured_from, stop.clone())))
        })
        .collect()
}

async fn open(arrivals: Arrivals, shared: &Shared, start: Instant) -> io::Result<(Vec<StartPolicy>, Option<OpenLoop>)> {
    let settings = &shared.settings;
    // Two copies: the timer reports arrivals as they become due, the dispatcher computes the starts of queued ones.
    let schedule = || ArrivalSchedule::new(arrivals, settings);
    let (dispatcher, slots) = Dispatcher::new(schedule(), start, shared.measured_from, settings.users().get());
    let timer = ArrivalTimer::start(Arc::clone(&dispatcher), schedule(), start, settings.end()).await?;
    Ok((slots.into_iter().map(StartPolicy::Open).collect(), Some(OpenLoop { dispatcher, timer })))
}

async fn sleep_until_or_forever(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
