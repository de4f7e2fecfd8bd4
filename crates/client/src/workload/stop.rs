//! End of a workload in two steps: no operation starts, then operations in flight are cancelled.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// The workload ends: no operation starts any more.
#[derive(Debug)]
pub(super) struct WorkloadEnded;

/// Tells all virtual users when to end.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop {
    /// Cancelled when no further operation may start.
    draining: CancellationToken,
    /// Cancelled when operations in flight must end.
    cut: CancellationToken,
}

impl Stop {
    /// Lets no further operation start. Operations in flight have `grace` to end; of several calls the earliest end
    /// counts.
    pub(super) fn drain(&self, grace: Duration) {
        self.draining.cancel();
        let cut = self.cut.clone();
        tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            cut.cancel();
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
    pub(super) async fn cut(&self) {
        self.cut.cancelled().await;
    }
}
