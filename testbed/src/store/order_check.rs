//! The order consistency check of a run: units sold, units ordered, and orders acknowledged to clients.

use model::messages::server::ConsistencyReport;
use serde::{Deserialize, Serialize};

/// The server's [`ConsistencyReport`] compared with the orders that were acknowledged to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct OrderCheck {
    /// Acknowledged orders. The database may have more: an acknowledgement can get lost.
    pub(crate) acknowledged: i64,
    /// Units that left the stock.
    pub(crate) units_sold: i64,
    /// Units in stored orders.
    pub(crate) units_ordered: i64,
    /// Stored orders.
    pub(crate) stored: i64,
    /// Whether stock and orders are consistent, product by product.
    pub(crate) consistent: bool,
}

impl OrderCheck {
    /// Returns the check of one environment.
    pub(crate) fn new(acknowledged: i64, report: &ConsistencyReport) -> Self {
        let ConsistencyReport { units_sold, units_ordered, orders, consistent, .. } = *report;
        Self { acknowledged, units_sold, units_ordered, stored: orders, consistent }
    }

    /// Returns the sums of this check and that of another environment.
    pub(crate) fn with(self, other: Option<Self>) -> Self {
        let Some(other) = other else { return self };
        Self {
            acknowledged: self.acknowledged + other.acknowledged,
            units_sold: self.units_sold + other.units_sold,
            units_ordered: self.units_ordered + other.units_ordered,
            stored: self.stored + other.stored,
            // A surplus in one environment must not hide a loss in another.
            consistent: self.has_passed() && other.has_passed(),
        }
    }

    /// Whether stock and orders are consistent and no acknowledged order is missing.
    pub(crate) fn has_passed(self) -> bool {
        self.consistent && self.acknowledged <= self.stored
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_surplus_in_one_environment_does_not_hide_a_loss_in_another() {
        let good = OrderCheck { acknowledged: 3, units_sold: 5, units_ordered: 5, stored: 4, consistent: true };
        assert!(good.with(None).has_passed() && good.with(Some(good)).has_passed());
        assert_eq!(good.with(Some(good)).stored, 8);
        let lost = OrderCheck { acknowledged: 5, ..good };
        assert!(!lost.with(Some(OrderCheck { stored: 100, ..good })).has_passed());
    }
}
