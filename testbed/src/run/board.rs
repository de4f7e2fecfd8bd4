//! What the clients of a cell tell while they work.

use std::cell::RefCell;
use std::rc::Rc;

use shop_client::control::Event;

/// Operations and errors so far, over all clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Operations that ended.
    pub(crate) operations: u64,
    /// Of these, other than `ok`.
    pub(crate) errors: u64,
    /// Under way when clients had to stop.
    pub(crate) cut_off: u64,
}

/// Where the clients' counts meet; shared with the progress display.
#[derive(Clone, Default)]
pub(crate) struct Board(Rc<RefCell<Vec<Count>>>);

impl Board {
    /// For so many clients.
    pub(super) fn new(clients: usize) -> Self {
        Self(Rc::new(RefCell::new(vec![Count::default(); clients])))
    }

    /// The sum over all clients.
    pub(crate) fn total(&self) -> Count {
        self.0.borrow().iter().fold(Count::default(), |sum, count| Count {
            operations: sum.operations + count.operations,
            errors: sum.errors + count.errors,
            cut_off: sum.cut_off + count.cut_off,
        })
    }

    /// What one client has told.
    pub(super) fn of(&self, index: usize) -> Count {
        self.0.borrow().get(index).copied().unwrap_or_default()
    }

    /// Takes an event in; says whether it was the last.
    pub(super) fn note(&self, index: usize, event: Event) -> bool {
        let (count, last) = match event {
            Event::Ready => return false,
            Event::Progress { operations, errors } => (Count { operations, errors, cut_off: 0 }, false),
            Event::Done { operations, errors, cut_off, .. } => (Count { operations, errors, cut_off }, true),
        };
        if let Some(place) = self.0.borrow_mut().get_mut(index) {
            *place = count;
        }
        last
    }
}
