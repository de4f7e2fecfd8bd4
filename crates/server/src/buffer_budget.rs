//! Budget of memory for requests and unread responses of all connections together. Each connection has a small part of
//! it; large requests and responses share the rest.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::connection::BUFFER_BYTES;

/// Granularity of the budget, bytes.
const UNIT_BYTES: usize = 1024;

/// Memory of each connection without a share: a small request being received, and a small response being sent.
const CONNECTION_BYTES: usize = 2 * BUFFER_BYTES;

/// Minimum of the shared part, bytes.
const MIN_SHARED_BYTES: usize = 16 * 1024 * 1024;

/// Memory that all connections share.
#[derive(Debug)]
pub(crate) struct BufferBudget {
    total_units: usize,
    units: Arc<Semaphore>,
}

/// Part of the budget, returned when it is dropped.
pub(crate) type BudgetShare = OwnedSemaphorePermit;

impl BufferBudget {
    /// Returns the shared part of a budget of `mebibytes` MiB for at most `connections` connections.
    pub(crate) fn new(mebibytes: usize, connections: usize) -> Self {
        let small = connections.saturating_mul(CONNECTION_BYTES);
        let shared = mebibytes.saturating_mul(1024 * 1024).saturating_sub(small).max(MIN_SHARED_BYTES);
        let total_units = (shared / UNIT_BYTES).min(Semaphore::MAX_PERMITS);
        Self { total_units, units: Arc::new(Semaphore::new(total_units)) }
    }

    /// Returns the bytes of the shared part that are in use.
    pub(crate) fn used_bytes(&self) -> usize {
        (self.total_units - self.units.available_permits()) * UNIT_BYTES
    }

    /// Waits until `bytes` are free. Those who wait are served in order.
    pub(crate) async fn acquire(&self, bytes: usize) -> Option<BudgetShare> {
        Arc::clone(&self.units).acquire_many_owned(units(bytes)).await.ok()
    }

    /// Returns `bytes` if they are free and no connection waits.
    pub(crate) fn try_acquire(&self, bytes: usize) -> Option<BudgetShare> {
        Arc::clone(&self.units).try_acquire_many_owned(units(bytes)).ok()
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn each_connection_has_its_part_and_the_rest_is_shared() {
        let shared = |mebibytes, connections| BufferBudget::new(mebibytes, connections).units.available_permits();
        assert_eq!(shared(256, 10_000), 256 * 1024 - 160_000);
        assert_eq!(shared(256, 1_000_000), 16 * 1024);
    }

    #[test]
    fn those_who_wait_are_served_in_order_when_memory_is_returned() {
        let budget = BufferBudget::new(17, 64);
        let first = budget.try_acquire(16 * 1024 * 1024 - 5000).unwrap();
        assert!(budget.try_acquire(10_000).is_none());
        let (mut second, mut third) = (Box::pin(budget.acquire(10_000)), Box::pin(budget.acquire(1)));
        assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
        assert!(budget.try_acquire(1).is_none(), "a newcomer overtook those who wait");
        drop(first);
        assert!(second.now_or_never().is_some() && third.now_or_never().is_some());
    }
}
