//! Reports each arrival of an open loop to the dispatcher when it is due.
//!
//! A runtime's timers fire more than a millisecond late, so a kernel timer (timerfd) among the runtime's sockets is
//! used. A virtual CPU takes 30 to 70 µs, rarely 300 µs, to wake up even a real-time thread. The timer therefore
//! fires slightly early, and the task yields to others until the arrival is due.
//!
//! Start lateness p99 with 200 and 1000 arrivals/s: 120 to 180 µs; without early firing 200 to 370 µs. A dedicated
//! thread that sleeps in clock_nanosleep and wakes the runtime's thread: 150 to 220 µs; if it spins before the
//! arrival: 130 to 330 µs, because each of its wake-ups wakes a second idle CPU.

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

/// Maximum time by which the timer fires early.
const MAX_EARLY: Duration = Duration::from_micros(150);
/// Maximum share of the mean time between two arrivals by which it fires early: the CPUs are for the workload.
const MAX_EARLY_SHARE: f64 = 0.1;
/// Number of readings of both clocks; the closest pair is used.
const CLOCK_READINGS: usize = 9;

/// Task that follows an arrival schedule. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct ArrivalTimer {
    task: JoinHandle<io::Result<()>>,
    scheduling: ThreadScheduling,
}

impl ArrivalTimer {
    /// Starts to follow `schedule`, whose times are relative to `start`. Closes the dispatcher after the last arrival,
    /// or at `end` if it is given.
    pub(super) async fn start(
        dispatcher: Arc<Dispatcher>,
        schedule: ArrivalSchedule,
        start: Instant,
        end: Option<Duration>,
    ) -> io::Result<Self> {
        // In a task: the setting must apply to a thread of the runtime, which runs the virtual users.
        let scheduling =
            tokio::spawn(async { thread_scheduling::request_realtime() }).await.map_err(io::Error::other)?;
        let alarm = Alarm::new(schedule.mean_gap().mul_f64(MAX_EARLY_SHARE).min(MAX_EARLY))?;
        let task = tokio::spawn(async move {
            let result = follow(&dispatcher, &alarm, schedule, start, end).await;
            dispatcher.close();
            result
        });
        Ok(Self { task, scheduling })
    }

    /// Ends the task and returns its threads' scheduling.
    ///
    /// # Errors
    /// The timer failed.
    pub(super) async fn finish(mut self) -> io::Result<ThreadScheduling> {
        self.task.abort();
        match (&mut self.task).await {
            Ok(result) => result.map(|()| self.scheduling),
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
    dispatcher: &Dispatcher,
    alarm: &Alarm,
    schedule: ArrivalSchedule,
    start: Instant,
    end: Option<Duration>,
) -> io::Result<()> {
    for since in schedule {
        let intended = start + since;
        alarm.wait_until(intended).await?;
        dispatcher.arrive(intended);
    }
    match end {
        Some(end) => alarm.wait_until(start + end).await,
        None => Ok(()),
    }
}

/// Adapter of the kernel's timer for the runtime.
struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Timer of the kernel, with one simultaneous reading of its clock and `Instant`, which converts between them.
struct Alarm {
    timer: AsyncFd<Timer>,
    /// Time by which the timer fires early.
    early: Duration,
    instant: Instant,
    monotonic: Duration,
}

impl Alarm {
    fn new(early: Duration) -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = Timer(TimerFd::new(timerfd::ClockId::CLOCK_MONOTONIC, flags)?);
        // SAFETY: the timer owns its descriptor, always returns the same one, and closes it when it is dropped.
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
        let fire_at = time.checked_sub(self.early).unwrap_or(time);
        while Instant::now() < fire_at {
            let expiration = TimeSpec::from_duration(self.monotonic + (fire_at - self.instant));
            self.timer.get_ref().0.set(Expiration::OneShot(expiration), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
            let mut ready = self.timer.readable().await?;
            // If the timer has not fired yet, `try_io` clears the readiness, and the loop waits again.
            if let Ok(read) = ready.try_io(|timer| timer.get_ref().0.wait().map_err(io::Error::from)) {
                read?;
            }
        }
        while Instant::now() < time {
            // The runtime polls its sockets in between, so responses are read without delay.
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

/// Reads both clocks. Returns the maximum difference of the two readings, and the readings.
fn read_clocks() -> io::Result<(Duration, Instant, Duration)> {
    let instant = Instant::now();
    let monotonic = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
    Ok((instant.elapsed(), instant, monotonic))
}
