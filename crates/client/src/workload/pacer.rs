//! The thread that follows the timetable of an open loop: sleeps until an operation is due, and says so.
//!
//! A thread of its own, since a runtime's timers fire more than a millisecond late. It sleeps until absolute times with
//! the least timer slack, and asks for real-time priority, so that it gets a core whenever something is due. It never
//! spins: the cores belong to the workload.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl::set_timerslack;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};

use super::arrivals::Timetable;
use super::dispatch::Dispatch;
use super::priority::{self, Urgency};
use crate::control::Priority;

/// Waits that are longer are begun by parking, which can be ended from outside at once.
const LONG: Duration = Duration::from_millis(10);
/// Parking ends so long before.
const MARGIN: Duration = Duration::from_millis(2);
/// The two clocks are read so often, and the closest pair counts.
const CLOCK_READINGS: usize = 9;

/// The pacing thread; it ends with the value.
#[derive(Debug)]
pub(super) struct Pacer {
    dispatch: Arc<Dispatch>,
    thread: Option<JoinHandle<Priority>>,
}

impl Pacer {
    /// Follows `timetable`, which begins at `began`. Nothing arrives any more after its last one, or after `end` if
    /// there is one.
    pub(super) fn start(
        dispatch: Arc<Dispatch>,
        timetable: Timetable,
        began: Instant,
        end: Option<Duration>,
    ) -> io::Result<Self> {
        let due = Arc::clone(&dispatch);
        let clock = Clock::read()?;
        let thread = thread::Builder::new().name("pacer".to_owned()).spawn(move || {
            let priority = priority::ask(Urgency::Timetable);
            // Refused only by a kernel that does not know it, and then the slack is 50 microseconds.
            let _ = set_timerslack(1);
            follow(&due, &clock, timetable, began, end);
            due.close();
            priority
        })?;
        Ok(Self { dispatch, thread: Some(thread) })
    }

    /// Ends the thread and tells its priority.
    pub(super) fn finish(mut self) -> Priority {
        self.end()
    }

    fn end(&mut self) -> Priority {
        self.dispatch.close();
        let Some(thread) = self.thread.take() else { return Priority::Shared };
        thread.thread().unpark();
        thread.join().unwrap_or(Priority::Shared)
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.end();
    }
}

fn follow(dispatch: &Dispatch, clock: &Clock, timetable: Timetable, began: Instant, end: Option<Duration>) {
    for since in timetable {
        let intended = began + since;
        clock.sleep_until(intended, || dispatch.is_open());
        if !dispatch.is_open() {
            return;
        }
        dispatch.arrive(intended);
    }
    if let Some(end) = end {
        clock.sleep_until(began + end, || dispatch.is_open());
    }
}

/// What `CLOCK_MONOTONIC` showed at an instant: `Instant` does not tell, and sleeping needs it.
struct Clock {
    instant: Instant,
    monotonic: Duration,
}

impl Clock {
    fn read() -> io::Result<Self> {
        let (mut narrowest, mut clock) = Self::read_once()?;
        for _ in 1..CLOCK_READINGS {
            let (width, next) = Self::read_once()?;
            if width < narrowest {
                (narrowest, clock) = (width, next);
            }
        }
        Ok(clock)
    }

    /// A reading, and how far apart its two clocks may have been read.
    fn read_once() -> io::Result<(Duration, Self)> {
        let instant = Instant::now();
        let monotonic = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
        Ok((instant.elapsed(), Self { instant, monotonic }))
    }

    /// Sleeps as long as `goes_on`, which is asked whenever the thread is unparked.
    fn sleep_until(&self, time: Instant, goes_on: impl Fn() -> bool) {
        while goes_on() {
            let left = time.saturating_duration_since(Instant::now());
            if left <= LONG {
                return self.sleep_exactly_until(time);
            }
            thread::park_timeout(left - MARGIN);
        }
    }

    fn sleep_exactly_until(&self, time: Instant) {
        let Some(since) = time.checked_duration_since(self.instant) else { return };
        let time = TimeSpec::from_duration(self.monotonic + since);
        while clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &time) == Err(Errno::EINTR)
        {
        }
    }
}
