//! Which cells may be measured beside each other: a further one begins only while the host is quiet, so that cells
//! measure the link and not each other.

use std::cell::Cell;
use std::time::Duration;

use tokio::sync::{Mutex, watch};

use crate::host_info::CpuTicks;

/// How long the host is watched before a further cell begins. It starts when the clients of all cells before are at
/// work, so what these cost is seen.
const WATCHED: Duration = Duration::from_millis(250);
/// A host less busy than this is quiet, percent of all cores: what another cell adds must find room.
const IDLE_PERCENT: f64 = 40.0;

/// The gate that all labs of a run share.
#[derive(Default)]
pub(crate) struct AdmissionControl {
    /// Cells that were let in and are not over.
    under_way: Cell<u32>,
    /// Of these, cells whose clients are at work.
    working: watch::Sender<u32>,
    /// The most that were at work at once.
    most: Cell<u32>,
    /// One lab at a time looks.
    turn: Mutex<()>,
}

/// That a cell may be measured; it is over when this is dropped.
pub(crate) struct Permit<'g> {
    admission: &'g AdmissionControl,
    is_working: Cell<bool>,
}

impl Permit<'_> {
    /// The cell's clients are at work.
    pub(crate) fn working(&self) {
        if !self.is_working.replace(true) {
            self.admission.working.send_modify(|working| *working += 1);
            self.admission.most.set(self.admission.most.get().max(*self.admission.working.borrow()));
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.admission.under_way.set(self.admission.under_way.get() - 1);
        let was_working = u32::from(self.is_working.get());
        // Also when it was not: who waits for all others to be at work looks again.
        self.admission.working.send_modify(|working| *working -= was_working);
    }
}

impl AdmissionControl {
    /// Waits until no other cell is under way, or all are at work and the host is quiet nevertheless.
    pub(crate) async fn admit(&self) -> Permit<'_> {
        self.admit_on(is_idle).await
    }

    /// The same with another way to tell whether the host is quiet.
    async fn admit_on(&self, is_idle: impl AsyncFn() -> bool) -> Permit<'_> {
        let _turn = self.turn.lock().await;
        let mut working = self.working.subscribe();
        loop {
            // The gate holds the sender, so there is always one.
            let _ = working.wait_for(|working| *working == self.under_way.get()).await;
            if self.under_way.get() == 0 || is_idle().await {
                break;
            }
        }
        self.under_way.set(self.under_way.get() + 1);
        Permit { admission: self, is_working: Cell::new(false) }
    }

    /// The most cells whose clients were at work at once.
    pub(crate) fn most(&self) -> u32 {
        self.most.get()
    }
}

/// Watches the host for a moment. One that can't be watched is not quiet.
async fn is_idle() -> bool {
    let before = CpuTicks::now();
    tokio::time::sleep(WATCHED).await;
    let percent = CpuTicks::now().zip(before).and_then(|(now, before)| now.percent_since(before));
    percent.is_some_and(|percent| percent < IDLE_PERCENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_cell_need_not_wait_and_a_cell_that_is_over_makes_room() {
        let admission = AdmissionControl::default();
        let permit = admission.admit().await;
        permit.working();
        permit.working();
        assert_eq!((admission.under_way.get(), admission.most()), (1, 1));
        drop(permit);
        let _again = admission.admit().await;
        assert_eq!((admission.under_way.get(), *admission.working.borrow()), (1, 0));
    }

    #[tokio::test]
    async fn a_further_cell_is_let_in_as_soon_as_the_host_is_quiet() {
        let admission = AdmissionControl::default();
        let first = admission.admit().await;
        first.working();
        let looks = Cell::new(0);
        let quiet_at_last = async || looks.replace(looks.get() + 1) == 3;
        let second = admission.admit_on(quiet_at_last).await;
        second.working();
        assert_eq!((looks.get(), admission.under_way.get(), admission.most()), (4, 2, 2));
    }

    #[tokio::test]
    async fn nobody_is_let_in_while_a_cell_gets_ready() {
        let admission = AdmissionControl::default();
        let first = admission.admit().await;
        let second = admission.admit();
        tokio::pin!(second);
        assert!(tokio::time::timeout(2 * WATCHED, &mut second).await.is_err());
        // Over without ever having worked: there is nothing to wait for any more.
        drop(first);
        assert!(tokio::time::timeout(Duration::from_secs(60), second).await.is_ok());
    }
}
