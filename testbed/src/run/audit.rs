//! The books of a run: what left the stock, what was ordered, and what clients were promised.

use serde::Deserialize;

/// What `shop-server verify` says of the database, beside what clients were promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
pub(crate) struct Audit {
    /// Orders that were acknowledged to clients. The database may have more: an acknowledgement can get lost.
    #[serde(default)]
    pub(crate) promised: i64,
    /// Pieces that left the stock.
    pub(crate) sold: i64,
    /// Pieces that stand in orders.
    pub(crate) ordered: i64,
    /// How many orders there are.
    pub(crate) orders: i64,
    /// Whether stock and orders agree, product by product.
    pub(crate) consistent: bool,
}

impl Audit {
    /// The books of one more lab put to these.
    pub(crate) fn with(self, other: Option<Self>) -> Self {
        let Some(other) = other else { return self };
        Self {
            promised: self.promised + other.promised,
            sold: self.sold + other.sold,
            ordered: self.ordered + other.ordered,
            orders: self.orders + other.orders,
            // What one lab has too many must not hide what another has lost.
            consistent: self.is_good() && other.is_good(),
        }
    }

    /// Whether stock and orders agree and no acknowledged order is missing.
    pub(crate) fn is_good(self) -> bool {
        self.consistent && self.promised <= self.orders
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_lab_has_too_many_does_not_hide_what_another_has_lost() {
        let good = Audit { promised: 3, sold: 5, ordered: 5, orders: 4, consistent: true };
        assert!(good.with(None).is_good() && good.with(Some(good)).is_good());
        assert_eq!(good.with(Some(good)).orders, 8);
        let lost = Audit { promised: 5, ..good };
        assert!(!lost.with(Some(Audit { orders: 100, ..good })).is_good());
    }
}
