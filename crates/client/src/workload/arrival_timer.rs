//! Follows the arrival schedule of an open loop: waits until an operation is due, and says so.
//!
//! A runtime's timers fire more than a millisecond late, so the waiting is done by a timer of the kernel (timerfd)
//! among the runtime's sockets. A virtual processor takes 30 to 70 microseconds to wake up even a real-time thread, and
//! seldom 300, so the timer rings a little early, and the rest of the time the task gives way to other tasks again and
//! again.
//!
//! Measured with 200 and 1000 arrivals a second, p99 lateness in microseconds: this 120 to 180; without being early 200
//! to 370; a thread of its own that sleeps in clock_nanosleep and then wakes the runtime's 150 to 220, and when it
//! spins before, 130 to 330, because each of its wake-ups takes a second idle processor out of its sleep.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{self, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId, clock_gettime};
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

use crate::workload::arrival_schedule::ArrivalSchedule;
use crate::workload::dispatcher::Dispatcher;
use crate::workload::thread_scheduling;
use model::messages::workload::ThreadScheduling;

/// The timer rings at most so early …
const EARLY: Duration = Duration::from_micros(150);
/// … and no more than this share of the mean time between two arrivals: the processors belong to the workload.
const EARLY_SHARE: f64 = 0.1;
/// The two clocks are read so often, and the closest pair counts.
const CLOCK_READINGS: usize = 9;

/// The task that follows an arrival schedule; it ends with the value.
#[derive(Debug)]
pub(super) struct ArrivalTimer {
    task: JoinHandle<io::Result<()>>,
    scheduling: ThreadScheduling,
}

impl ArrivalTimer {
    /// Follows `schedule`, which starts at `began`. Nothing arrives any more after its last one, or after `end` if
    /// there is one.
    pub(super) async fn start(
        dispatch: Arc<Dispatcher>,
        schedule: ArrivalSchedule,
        began: Instant,
        end: Option<Duration>,
    ) -> io::Result<Self> {
        // In a task, so that it is a thread of the virtual users that asks.
        let scheduling = tokio::spawn(async { thread_scheduling::ask() }).await.map_err(io::Error::other)?;
        let alarm = Alarm::new(schedule.mean_gap().mul_f64(EARLY_SHARE).min(EARLY))?;
        let task = tokio::spawn(async move {
            let followed = follow(&dispatch, &alarm, schedule, began, end).await;
            dispatch.close();
            followed
        });
        Ok(Self { task, scheduling })
    }

    /// Ends it; how its threads got a core.
    ///
    /// # Errors
    /// When it ended because the timer failed.
    pub(super) async fn finish(mut self) -> io::Result<ThreadScheduling> {
        self.task.abort();
        match (&mut self.task).await {
            Ok(followed) => followed.map(|()| self.scheduling),
            Err(error) if error.is_cancelled() => Ok(self.scheduling),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

impl Drop for ArrivalTimer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(
    dispatch: &Dispatcher,
    alarm: &Alarm,
    schedule: ArrivalSchedule,
    began: Instant,
    end: Option<Duration>,
) -> io::Result<()> {
    for since in schedule {
        let intended = began + since;
        alarm.wait_until(intended).await?;
        dispatch.arrive(intended);
    }
    match end {
        Some(end) => alarm.wait_until(began + end).await,
        None => Ok(()),
    }
}

/// What the runtime needs to know of the kernel's timer.
struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// A timer of the kernel, and what its clock showed at an instant: `Instant` does not tell.
struct Alarm {
    timer: AsyncFd<Timer>,
    /// How long before a time the timer rings.
    early: Duration,
    instant: Instant,
    monotonic: Duration,
}

impl Alarm {
    fn new(early: Duration) -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = Timer(TimerFd::new(timerfd::ClockId::CLOCK_MONOTONIC, flags)?);
        // SAFETY: the timer owns its descriptor, gives out always the same one, and closes it when it is dropped.
        let timer = unsafe { AsyncFd::register(timer) }?;
        let (mut narrowest, mut instant, mut monotonic) = read_clocks()?;
        for _ in 1..CLOCK_READINGS {
            let next = read_clocks()?;
            if next.0 < narrowest {
                (narrowest, instant, monotonic) = next;
            }
        }
        Ok(Self { timer, early, instant, monotonic })
    }

    async fn wait_until(&self, time: Instant) -> io::Result<()> {
        let ring = time.checked_sub(self.early).unwrap_or(time);
        while Instant::now() < ring {
            let expiration = TimeSpec::from_duration(self.monotonic + (ring - self.instant));
            self.timer.get_ref().0.set(Expiration::OneShot(expiration), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
            let mut ready = self.timer.readable().await?;
            // When it had not rung yet, its readiness is forgotten, and the loop waits again.
            if let Ok(read) = ready.try_io(|timer| timer.get_ref().0.wait().map_err(io::Error::from)) {
                read?;
            }
        }
        while Instant::now() < time {
            // The runtime looks at the sockets in between, so answers that come meanwhile are read at once.
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

/// A reading of both clocks, after how far apart they may have been read.
fn read_clocks() -> io::Result<(Duration, Instant, Duration)> {
    let instant = Instant::now();
    let monotonic = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
    Ok((instant.elapsed(), instant, monotonic))
}
