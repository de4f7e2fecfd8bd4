//! Ending a workload: first no new operations, then no operations at all.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// The workload ends: no operation starts any more.
#[derive(Debug)]
pub(super) struct WorkloadEnded;

/// Tells all virtual users when to end.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop {
    /// No operation starts any more.
    draining: CancellationToken,
    /// Operations in flight are given up.
    cut: CancellationToken,
}

impl Stop {
    /// No operation starts any more; those in flight have `grace` to end. The shortest grace counts.
    pub(super) fn drain(&self, grace: Duration) {
        self.draining.cancel();
        let cut = self.cut.clone();
        tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            cut.cancel();
        });
    }

    /// Whether no operation may start.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Ends when no operation may start.
    pub(super) async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Ends when operations in flight must be given up.
    pub(super) async fn cut(&self) {
        self.cut.cancelled().await;
    }
}
