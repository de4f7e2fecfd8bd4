//! End of the grace period of a shutdown: from then on no request is started.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the grace period has ended; shared by connections and threads.
#[derive(Debug, Clone, Default)]
pub(crate) struct GracePeriod(Arc<AtomicBool>);

impl GracePeriod {
    /// Ends the grace period. Requests that were not started yet are answered with `shutting_down`.
    pub(crate) fn end(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns whether the grace period has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
