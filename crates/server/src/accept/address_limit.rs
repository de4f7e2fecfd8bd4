//! Limit of connections per address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Number of connections by address.
#[derive(Debug)]
pub(super) struct AddressLimit {
    limit: NonZeroUsize,
    connections: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection of an address, until it is dropped.
#[derive(Debug)]
pub(super) struct AddressSlot {
    limit: Arc<AddressLimit>,
    address: IpAddr,
}

impl AddressLimit {
    /// Returns a limit of `limit` connections per address.
    pub(super) fn new(limit: NonZeroUsize) -> Self {
        Self { limit, connections: Mutex::default() }
    }

    /// Counts one more connection of `address`, or returns `None` if it has as many as permitted.
    pub(super) fn acquire(self: &Arc<Self>, address: IpAddr) -> Option<AddressSlot> {
        let mut connections = self.lock();
        let count = connections.entry(address).or_default();
        if *count >= self.limit.get() {
            return None;
        }
        *count += 1;
        Some(AddressSlot { limit: Arc::clone(self), address })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AddressSlot {
    fn drop(&mut self) {
        let mut connections = self.limit.lock();
        if let Some(count) = connections.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                connections.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_limit_and_ended_connections_do_not_count() {
        let limit = Arc::new(AddressLimit::new(NonZeroUsize::new(2).unwrap()));
        let (one, other) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let slots = [limit.acquire(one).unwrap(), limit.acquire(one).unwrap()];
        assert!(limit.acquire(one).is_none() && limit.acquire(other).is_some());
        drop(slots);
        assert!(limit.acquire(one).is_some());
        assert!(limit.lock().is_empty(), "addresses without connections are kept");
    }
}
