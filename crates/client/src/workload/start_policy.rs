//! When a virtual user's next operation begins: after a pause (closed loop), or when one arrives (open loop). The turn
//! does not know which.

use std::time::{Duration, Instant};

use crate::workload::backoff::BackOff;
use crate::workload::dispatcher::UserSlot;
use crate::workload::seed::{Purpose, Stream};
use crate::workload::settings::Settings;
use crate::workload::stop::{Stop, WorkloadEnded};

/// One virtual user's pace.
#[derive(Debug)]
pub(super) enum StartPolicy {
    /// The next operation is meant to start when the pause after the last one is over. So the intended start is read
    /// from the clock then, and the lateness of the runtime's timers is part of the pause and not of the latency.
    Closed(Box<ThinkTime>),
    /// The next operation is meant to start when the arrival schedule says, whichever user does it. There is no
    /// back-off: those who arrive know nothing of the failures of others.
    Open(UserSlot),
}

impl StartPolicy {
    /// Waits until an operation may start, and says when it was meant to.
    pub(super) async fn next(&mut self) -> Result<Instant, WorkloadEnded> {
        match self {
            StartPolicy::Closed(think_time) => think_time.next().await,
            StartPolicy::Open(slot) => {
                let arrival = slot.next().await.ok_or(WorkloadEnded)?;
                slot.begins(arrival);
                Ok(arrival.intended)
            }
        }
    }

    /// The last operation was no reason to back off.
    pub(super) fn succeeded(&mut self) {
        if let StartPolicy::Closed(think_time) = self {
            think_time.back_off.reset();
        }
    }

    /// The last operation failed.
    pub(super) fn failed(&mut self) {
        if let StartPolicy::Closed(think_time) = self {
            think_time.back_off.failed();
        }
    }
}

/// The pauses of a closed loop.
#[derive(Debug)]
pub(super) struct ThinkTime {
    /// Their mean.
    think_time: Duration,
    think: Stream,
    back_off: BackOff,
    /// Operations of the measured time that may still start.
    left: Option<u64>,
    measured_from: Instant,
    place: Position,
    stop: Stop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    BeforeTheFirst,
    Later,
}

impl ThinkTime {
    /// Those of virtual user `user`, with a mean of `think_time`.
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
            left: settings.until.share(user, settings.users()),
            measured_from,
            place: Position::BeforeTheFirst,
            stop,
        }
    }

    async fn next(&mut self) -> Result<Instant, WorkloadEnded> {
        if self.left == Some(0) {
            return Err(WorkloadEnded);
        }
        let pause = self.pause();
        self.sleep(pause).await?;
        if self.stop.is_draining() {
            return Err(WorkloadEnded);
        }
        let intended = Instant::now();
        if intended >= self.measured_from {
            self.left = self.left.map(|left| left - 1);
        }
        Ok(intended)
    }

    pub(super) fn pause(&mut self) -> Duration {
        if self.place == Position::BeforeTheFirst {
            self.place = Position::Later;
            // Virtual users come spread over one mean pause, not all in the same instant.
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
    async fn after_the_end_no_operation_begins() {
        let settings = Settings { until: Until { elapsed: None, operations: None }, ..settings() };
        let think_time = |think_time| {
            let stop = Stop::default();
            (ThinkTime::new(0, think_time, &settings, Instant::now(), stop.clone()), stop)
        };
        let (mut without_pauses, stop) = think_time(Duration::ZERO);
        assert!(without_pauses.next().await.is_ok());
        stop.drain(Duration::ZERO);
        assert!(without_pauses.next().await.is_err());
        // The end comes within a pause.
        let (mut with_pauses, stop) = think_time(Duration::from_secs(3600));
        let (ended, ()) = tokio::join!(with_pauses.next(), async { stop.drain(Duration::ZERO) });
        assert!(ended.is_err());
    }
}
