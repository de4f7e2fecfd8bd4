//! When a shopper's next operation begins: after a pause (closed loop), or when one arrives (open loop). The turn does not
//! know which.

use std::time::{Duration, Instant};

use super::backoff::BackOff;
use super::dispatch::Seat;
use super::seed::{Purpose, Stream};
use super::settings::Settings;
use super::shopper::Ended;
use super::stop::Stop;

/// One shopper's pace.
#[derive(Debug)]
pub(super) enum Pace {
    /// The next operation is meant to begin when the pause after the last one is over. So the intended start is read
    /// from the clock then, and the lateness of the runtime's timers is part of the pause and not of the latency.
    Closed(Box<Pauses>),
    /// The next operation is meant to begin when the timetable says, whoever does it. There is no back-off: those who
    /// arrive know nothing of the failures of others.
    Open(Seat),
}

impl Pace {
    /// Waits until an operation may begin, and says when it was meant to.
    pub(super) async fn next(&mut self) -> Result<Instant, Ended> {
        match self {
            Pace::Closed(pauses) => pauses.next().await,
            Pace::Open(seat) => {
                let arrival = seat.next().await.ok_or(Ended)?;
                seat.begins(arrival);
                Ok(arrival.intended)
            }
        }
    }

    /// The last operation was no reason to back off.
    pub(super) fn went_well(&mut self) {
        if let Pace::Closed(pauses) = self {
            pauses.back_off.reset();
        }
    }

    /// The last operation failed.
    pub(super) fn failed(&mut self) {
        if let Pace::Closed(pauses) = self {
            pauses.back_off.failed();
        }
    }
}

/// The pauses of a closed loop.
#[derive(Debug)]
pub(super) struct Pauses {
    /// Their mean.
    think_time: Duration,
    think: Stream,
    back_off: BackOff,
    /// Operations of the measured time that may still begin.
    left: Option<u64>,
    measured_from: Instant,
    place: Place,
    stop: Stop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    BeforeTheFirst,
    Later,
}

impl Pauses {
    /// Those of shopper `user`, with a mean of `think_time`.
    pub(super) fn new(
        user: u32,
        think_time: Duration,
        settings: &Settings,
        measured_from: Instant,
        stop: Stop,
    ) -> Self {
        let stream = |purpose| Stream::new(settings.seed, &settings.labels.client, user, purpose);
        Self {
            think_time,
            think: stream(Purpose::Think),
            back_off: BackOff::new(stream(Purpose::BackOff)),
            left: settings.until.share(user, settings.users),
            measured_from,
            place: Place::BeforeTheFirst,
            stop,
        }
    }

    async fn next(&mut self) -> Result<Instant, Ended> {
        if self.left == Some(0) {
            return Err(Ended);
        }
        let pause = self.pause();
        self.sleep(pause).await?;
        if self.stop.is_draining() {
            return Err(Ended);
        }
        let intended = Instant::now();
        if intended >= self.measured_from {
            self.left = self.left.map(|left| left - 1);
        }
        Ok(intended)
    }

    pub(super) fn pause(&mut self) -> Duration {
        if self.place == Place::BeforeTheFirst {
            self.place = Place::Later;
            // Shoppers come spread over one mean pause, not all in the same instant.
            return self.think_time.mul_f64(self.think.unit());
        }
        let think = self.think.around(self.think_time);
        think.max(self.back_off.wait())
    }

    async fn sleep(&self, time: Duration) -> Result<(), Ended> {
        if time.is_zero() {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            () = self.stop.draining() => Err(Ended),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::Until;
    use super::super::settings::tests::settings;
    use super::*;

    #[tokio::test]
    async fn after_the_end_no_operation_begins() {
        let settings = Settings { until: Until { elapsed: None, operations: None }, ..settings() };
        let pauses = |think_time| {
            let stop = Stop::default();
            (Pauses::new(0, think_time, &settings, Instant::now(), stop.clone()), stop)
        };
        let (mut without_pauses, stop) = pauses(Duration::ZERO);
        assert!(without_pauses.next().await.is_ok());
        stop.drain(Duration::ZERO);
        assert!(without_pauses.next().await.is_err());
        // The end comes within a pause.
        let (mut with_pauses, stop) = pauses(Duration::from_secs(3600));
        let (ended, ()) = tokio::join!(with_pauses.next(), async { stop.drain(Duration::ZERO) });
        assert!(ended.is_err());
    }
}
