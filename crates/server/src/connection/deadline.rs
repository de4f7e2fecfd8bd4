//! Deadline of a connection that moves with every request.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// Time at which a connection stops waiting.
///
/// The runtime's timer is set again only when the deadline becomes earlier or the timer fires: at thousands of requests a
/// second, its lock would slow them down.
#[derive(Debug)]
pub(super) struct Deadline {
    at: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Deadline {
    /// Returns a deadline at `at`.
    pub(super) fn new(at: Instant) -> Self {
        Self { at, timer: Box::pin(sleep_until(at)) }
    }

    /// Moves the deadline.
    pub(super) fn set(&mut self, at: Instant) {
        self.at = at;
        if at < self.timer.deadline() {
            self.timer.as_mut().reset(at);
        }
    }

    /// Returns `Ready` once the deadline has passed.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(context).is_ready() {
            if self.at <= Instant::now() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(self.at);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_deadline_follows_its_last_setting() {
        let start = Instant::now();
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut deadline = Deadline::new(after(10));
        // An hour that was not replaced would hang the test.
        for (settings, expected) in [(vec![20], 20), (vec![3_600_000, 30], 30), (vec![15, 40], 40)] {
            for milliseconds in settings {
                deadline.set(after(milliseconds));
            }
            poll_fn(|context| deadline.poll(context)).await;
            assert!(start.elapsed() >= Duration::from_millis(expected));
        }
    }
}
