//! The bounded queue between connections and the thread that writes the trace.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use model::TraceRow;

/// Rows that may wait for the disk.
pub(super) const CAPACITY: usize = 64 * 1024;

/// Queue of rows. Its lock is held for list operations only, never during I/O.
#[derive(Debug, Default)]
pub(super) struct RowQueue {
    pub(super) list: Mutex<RowList>,
    pub(super) changed: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct RowList {
    pub(super) rows: Vec<TraceRow>,
    /// Rows that the full list rejected since the writer last read this number.
    pub(super) dropped: u64,
    /// Whether the writer is to write the remaining rows and end.
    pub(super) ending: bool,
}

impl RowQueue {
    /// Appends a row, or drops and counts it if the list is full.
    pub(super) fn push(&self, row: TraceRow) {
        let mut list = self.lock();
        if list.rows.len() >= CAPACITY {
            list.dropped += 1;
            return;
        }
        list.rows.push(row);
        let first = list.rows.len() == 1;
        drop(list);
        if first {
            self.changed.notify_one();
        }
    }

    /// Requests the end of the writer.
    pub(super) fn end(&self) {
        self.lock().ending = true;
        self.changed.notify_one();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, RowList> {
        // A poisoned list is usable: a panic leaves the row either pushed or not.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_list_drops_and_counts() {
        let row = |exchange_id| TraceRow { exchange_id, tcp_rtt_us: None, tcp_rto_us: None, retransmits: None };
        let queue = RowQueue::default();
        for exchange_id in 0..CAPACITY as u64 + 3 {
            queue.push(row(exchange_id));
        }
        let list = queue.lock();
        assert_eq!((list.rows.len(), list.dropped), (CAPACITY, 3));
        assert_eq!(list.rows.last(), Some(&row(CAPACITY as u64 - 1)));
    }
}
