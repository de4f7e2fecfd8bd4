//! End of a workload in two steps: no operation starts, then operations in flight are cancelled.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Error: the workload has ended, and no operation may start.
#[derive(Debug)]
pub(super) struct WorkloadEnded;

/// Stop signal, shared by all virtual users.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop {
    /// Cancelled when no further operation may start.
    draining: CancellationToken,
    /// Cancelled when operations in flight must end.
    cancelled: CancellationToken,
}

impl Stop {
    /// Prevents further starts, and cancels operations in flight after `grace`; of several calls the earliest end
    /// applies.
    pub(super) fn drain(&self, grace: Duration) {
        self.draining.cancel();
        let cancelled = self.cancelled.clone();
        tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            cancelled.cancel();
        });
    }

    /// Returns whether no operation may start.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Waits until no operation may start.
    pub(super) async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Waits until operations in flight must end.
    pub(super) async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }
}
