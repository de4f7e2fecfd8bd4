//! Admission control for parallel cells: a further cell starts only on an idle host. Otherwise cells would measure each
//! other's CPU load instead of the link.

use std::cell::Cell;
use std::time::Duration;

use tokio::sync::{Mutex, watch};

use crate::host_info::CpuTicks;

/// The CPU load of the host is measured for this long before a further cell starts. The clients of all other cells work
/// by then, so their load is included.
const LOAD_WINDOW: Duration = Duration::from_millis(250);
/// The host is idle below this CPU load, percent of all cores. The rest is for the further cell.
const IDLE_THRESHOLD_PERCENT: f64 = 40.0;

/// Admission control that all environments of a run share.
#[derive(Default)]
pub(crate) struct AdmissionControl {
    /// Cells that hold a permit.
    admitted: Cell<u32>,
    /// Of these, cells whose clients work.
    working: watch::Sender<u32>,
    /// Maximum of `working` so far.
    max_parallel: Cell<u32>,
    /// Held while a cell waits for its permit: one at a time.
    queue: Mutex<()>,
}

/// Permission to measure a cell. The cell has ended when this is dropped.
pub(crate) struct Permit<'g> {
    admission: &'g AdmissionControl,
    is_working: Cell<bool>,
}

impl Permit<'_> {
    /// Reports that the cell's clients work.
    pub(crate) fn working(&self) {
        if !self.is_working.replace(true) {
            self.admission.working.send_modify(|working| *working += 1);
            self.admission.max_parallel.set(self.admission.max_parallel.get().max(*self.admission.working.borrow()));
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.admission.admitted.set(self.admission.admitted.get() - 1);
        let was_working = u32::from(self.is_working.get());
        // Sent even if the number stays the same: a waiting cell must compare it with the changed `admitted`.
        self.admission.working.send_modify(|working| *working -= was_working);
    }
}

impl AdmissionControl {
    /// Waits until no other cell holds a permit, or the clients of all of them work and the host is idle.
    pub(crate) async fn admit(&self) -> Permit<'_> {
        self.admit_on(is_idle).await
    }

    async fn admit_on(&self, is_idle: impl AsyncFn() -> bool) -> Permit<'_> {
        let _queue = self.queue.lock().await;
        let mut working = self.working.subscribe();
        loop {
            // Cannot fail: `self` owns the sender.
            let _ = working.wait_for(|working| *working == self.admitted.get()).await;
            if self.admitted.get() == 0 || is_idle().await {
                break;
            }
        }
        self.admitted.set(self.admitted.get() + 1);
        Permit { admission: self, is_working: Cell::new(false) }
    }

    /// Returns the maximum number of cells whose clients worked in parallel.
    pub(crate) fn max_parallel(&self) -> u32 {
        self.max_parallel.get()
    }
}

/// Measures the CPU load of the host. A host whose load cannot be measured is not idle.
async fn is_idle() -> bool {
    let before = CpuTicks::now();
    tokio::time::sleep(LOAD_WINDOW).await;
    let percent = CpuTicks::now().zip(before).and_then(|(now, before)| now.percent_since(before));
    percent.is_some_and(|percent| percent < IDLE_THRESHOLD_PERCENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_cell_is_admitted_without_waiting_and_an_ended_cell_returns_its_permit() {
        let admission = AdmissionControl::default();
        let permit = admission.admit().await;
        permit.working();
        permit.working();
        assert_eq!((admission.admitted.get(), admission.max_parallel()), (1, 1));
        drop(permit);
        let _next = admission.admit().await;
        assert_eq!((admission.admitted.get(), *admission.working.borrow()), (1, 0));
    }

    #[tokio::test]
    async fn a_further_cell_is_admitted_once_the_host_is_idle() {
        let admission = AdmissionControl::default();
        let first = admission.admit().await;
        first.working();
        let checks = Cell::new(0);
        let idle_at_fourth_check = async || checks.replace(checks.get() + 1) == 3;
        let second = admission.admit_on(idle_at_fourth_check).await;
        second.working();
        assert_eq!((checks.get(), admission.admitted.get(), admission.max_parallel()), (4, 2, 2));
    }

    #[tokio::test]
    async fn no_cell_is_admitted_while_another_starts_its_clients() {
        let admission = AdmissionControl::default();
        let first = admission.admit().await;
        let second = admission.admit();
        tokio::pin!(second);
        assert!(tokio::time::timeout(2 * LOAD_WINDOW, &mut second).await.is_err());
        // Ended before its clients worked: the second cell need not wait for it.
        drop(first);
        assert!(tokio::time::timeout(Duration::from_secs(60), second).await.is_ok());
    }
}
