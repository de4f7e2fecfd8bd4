//! Where a request's time went outside the runtime: in queues, and in the database.

use std::ops::AddAssign;
use std::time::{Duration, Instant};

/// What a request has spent so far. What is in neither part is the server's own work: decoding, hashing, writing JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RequestTiming {
    /// Waiting for a thread of the database or of the password group, and while that thread worked for others.
    pub(crate) queue: Duration,
    /// In the database for this request.
    pub(crate) disk: Duration,
}

impl RequestTiming {
    /// Nothing but waiting since `start`.
    pub(crate) fn waiting_since(start: Instant) -> Self {
        Self { queue: start.elapsed(), disk: Duration::ZERO }
    }
}

impl AddAssign for RequestTiming {
    fn add_assign(&mut self, other: Self) {
        self.queue += other.queue;
        self.disk += other.disk;
    }
}
