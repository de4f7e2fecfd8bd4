//! Time that a request spends in queues and in the database.

use std::ops::AddAssign;
use std::time::{Duration, Instant};

/// Components of a request's server time. The remainder is the server's own work: decoding, hashing, encoding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RequestTiming {
    /// Waiting for a database or password thread, including its work for other requests.
    pub(crate) queue: Duration,
    /// In the database for this request.
    pub(crate) database: Duration,
}

impl RequestTiming {
    /// Returns the timing of a request that has waited in a queue since `start`.
    pub(crate) fn waiting_since(start: Instant) -> Self {
        Self { queue: start.elapsed(), database: Duration::ZERO }
    }
}

impl AddAssign for RequestTiming {
    fn add_assign(&mut self, other: Self) {
        self.queue += other.queue;
        self.database += other.database;
    }
}
