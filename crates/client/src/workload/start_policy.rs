//! Start of a virtual user's next operation: after the think time (closed loop), or at an arrival (open loop).

use std::time::{Duration, Instant};

use crate::workload::backoff::BackOff;
use crate::workload::dispatcher::UserSlot;
use crate::workload::seed::{Purpose, Stream};
use crate::workload::settings::Settings;
use crate::workload::stop::{Stop, WorkloadEnded};

/// Start policy of one virtual user.
#[derive(Debug)]
pub(super) enum StartPolicy {
    /// The intended start is the time at which the think time has passed by the clock: the lateness of the runtime's
    /// timers is part of the think time, not of the latency.
    Closed(Box<ThinkTime>),
    /// The arrival schedule contains the intended start. There is no back-off: arrivals are independent of failures.
    Open(UserSlot),
}

impl StartPolicy {
    /// Waits until an operation may start, and returns its intended start.
    pub(super) async fn next(&mut self) -> Result<Instant, WorkloadEnded> {
        match self {
            StartPolicy::Closed(think_time) => think_time.next().await,
            StartPolicy::Open(slot) => {
                let arrival = slot.next().await.ok_or(WorkloadEnded)?;
                slot.started(arrival);
                Ok(arrival.intended)
            }
        }
    }

    /// Records that the last operation is no reason to back off.
    pub(super) fn succeeded(&mut self) {
        if let StartPolicy::Closed(think_time) = self {
            think_time.back_off.reset();
        }
    }

    /// Records that the last operation failed.
    pub(super) fn failed(&mut self) {
        if let StartPolicy::Closed(think_time) = self {
            think_time.back_off.failed();
        }
    }
}

/// Think times and back-off of one virtual user in a closed loop.
#[derive(Debug)]
pub(super) struct ThinkTime {
    /// Mean think time.
    think_time: Duration,
    think: Stream,
    back_off: BackOff,
    /// Remaining operations of the measurement window; `None` if unlimited.
    remaining: Option<u64>,
    measured_from: Instant,
    position: Position,
    stop: Stop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    First,
    Later,
}

impl ThinkTime {
    /// Creates the think times of virtual user `user`, with a mean of `think_time`.
    pub(super) fn new(
        user: u32,
        think_time: Duration,
        settings: &Settings,
        measured_from: Instant,
        stop: Stop,
    ) -> Self {
        let stream = |purpose| Stream::new(settings.seed, &settings.client, user, purpose);
        Self {
            think_time,
            think: stream(Purpose::Think),
            back_off: BackOff::new(stream(Purpose::BackOff)),
            remaining: settings.until.share(user, settings.users()),
            measured_from,
            position: Position::First,
            stop,
        }
    }

    async fn next(&mut self) -> Result<Instant, WorkloadEnded> {
        if self.remaining == Some(0) {
            return Err(WorkloadEnded);
        }
        let wait = self.next_wait();
        self.sleep(wait).await?;
        if self.stop.is_draining() {
            return Err(WorkloadEnded);
        }
        let intended = Instant::now();
        if intended >= self.measured_from {
            self.remaining = self.remaining.map(|remaining| remaining - 1);
        }
        Ok(intended)
    }

    /// Returns the think time before the next operation, or the back-off if that is longer.
    pub(super) fn next_wait(&mut self) -> Duration {
        if self.position == Position::First {
            self.position = Position::Later;
            // The virtual users' first starts are spread over one mean think time.
            return self.think_time.mul_f64(self.think.unit());
        }
        let think = self.think.around(self.think_time);
        think.max(self.back_off.wait())
    }

    async fn sleep(&self, time: Duration) -> Result<(), WorkloadEnded> {
        if time.is_zero() {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            () = self.stop.draining() => Err(WorkloadEnded),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::settings::Until;
    use crate::workload::settings::tests::settings;

    #[tokio::test]
    async fn after_the_end_no_operation_starts() {
        let settings = Settings { until: Until { elapsed: None, operations: None }, ..settings() };
        let think_time = |think_time| {
            let stop = Stop::default();
            (ThinkTime::new(0, think_time, &settings, Instant::now(), stop.clone()), stop)
        };
        let (mut without_think_time, stop) = think_time(Duration::ZERO);
        assert!(without_think_time.next().await.is_ok());
        stop.drain(Duration::ZERO);
        assert!(without_think_time.next().await.is_err());
        // The workload ends during a think time.
        let (mut with_think_time, stop) = think_time(Duration::from_secs(3600));
        let (ended, ()) = tokio::join!(with_think_time.next(), async { stop.drain(Duration::ZERO) });
        assert!(ended.is_err());
    }
}
