//! The random decisions of one iteration, made before its first operation. Pure.
//!
//! They depend on the seed, the client, the virtual user and the iteration's number only, not on the network. They are
//! relative positions, which are mapped to the products that the shop has.

use protocol::request::OrderItem;
use protocol::response::Product;

use crate::workload::seed::{Purpose, Stream, index};

/// Maximum number of products in an order.
const MAX_ITEMS: u64 = 3;
/// Maximum units of a product in an order.
const MAX_UNITS: u64 = 3;

/// Decisions of one iteration.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct IterationPlan {
    /// Position of the page among all pages, in [0, 1).
    page: f64,
    /// Products of the page, and their units.
    items: Vec<PlannedItem>,
    /// Stars for the first item of the order.
    pub(super) stars: u8,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct PlannedItem {
    /// Position among the page's products, in [0, 1).
    position: f64,
    units: i64,
}

impl IterationPlan {
    /// Returns the decisions of virtual user `user` of `client` for iteration `iteration`.
    pub(super) fn new(seed: u64, client: &str, user: u32, iteration: u64) -> Self {
        let mut stream = Stream::new(seed, client, user, Purpose::Iteration(iteration));
        let page = stream.unit();
        let stars = stream.one_to(5) as u8;
        let count = stream.one_to(MAX_ITEMS);
        let items = (0..count)
            .map(|_| PlannedItem { position: stream.unit(), units: stream.one_to(MAX_UNITS) as i64 })
            .collect();
        Self { page, items, stars }
    }

    /// Returns the page to request, from 1, if the shop has `products`. Only full pages are requested, so that
    /// responses keep their size.
    pub(super) fn page(&self, products: u64, page_size: u32) -> u32 {
        let full_pages = (products / u64::from(page_size)).max(1);
        u32::try_from(1 + index(self.page, full_pages)).unwrap_or(u32::MAX)
    }

    /// Returns the items to order of the products on the page `seen`; none if the page is empty.
    ///
    /// Products with too little stock are skipped unless there are no others.
    pub(super) fn order(&self, seen: &[Product]) -> Vec<OrderItem> {
        let in_stock: Vec<&Product> = seen.iter().filter(|product| product.stock >= MAX_UNITS as i64).collect();
        let mut candidates = if in_stock.is_empty() { seen.iter().collect() } else { in_stock };
        let mut items = Vec::new();
        for planned in self.items.iter().take(candidates.len()) {
            let product = candidates.remove(index(planned.position, candidates.len() as u64) as usize);
            items.push(OrderItem { product_id: product.product_id, quantity: planned.units });
        }
        items
    }

    /// Returns the item to order of `product`, which was added because another was out of stock.
    pub(super) fn order_of(&self, product: i64) -> Vec<OrderItem> {
        self.items.iter().take(1).map(|planned| OrderItem { product_id: product, quantity: planned.units }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(product_id: i64, stock: i64) -> Product {
        Product {
            product_id,
            name: String::new(),
            category: String::new(),
            description: String::new(),
            price_cents: 1,
            stock,
            rating_average: None,
            rating_count: 0,
        }
    }

    #[test]
    fn decisions_depend_on_seed_and_iteration() {
        let plan = |seed, iteration| IterationPlan::new(seed, "client-1", 4, iteration);
        assert_eq!(plan(9, 3), plan(9, 3));
        assert_ne!(plan(9, 3), plan(9, 4));
        assert_ne!(plan(9, 3), plan(8, 3));
    }

    #[test]
    fn an_order_has_one_to_three_different_products_of_those_in_stock() {
        let seen: Vec<Product> = (1..=20).map(|id| product(id, if id % 2 == 0 { 0 } else { 50 })).collect();
        let mut sizes = [0; 4];
        for iteration in 0..500 {
            let items = IterationPlan::new(1, "", 0, iteration).order(&seen);
            sizes[items.len()] += 1;
            assert!(items.iter().all(|item| item.product_id % 2 == 1 && (1..=3).contains(&item.quantity)), "{items:?}");
            let mut ids: Vec<i64> = items.iter().map(|item| item.product_id).collect();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), items.len());
        }
        assert!(sizes[0] == 0 && sizes[1..].iter().all(|size| *size > 100), "{sizes:?}");
    }

    #[test]
    fn without_stock_the_order_is_sent_anyway() {
        assert!(!IterationPlan::new(1, "", 0, 0).order(&[product(1, 0)]).is_empty());
        assert!(IterationPlan::new(1, "", 0, 0).order(&[]).is_empty());
    }

    #[test]
    fn only_full_pages_are_requested() {
        let pages = |products| {
            let mut seen: Vec<u32> =
                (0..300).map(|iteration| IterationPlan::new(1, "", 0, iteration).page(products, 20)).collect();
            seen.sort_unstable();
            seen.dedup();
            seen
        };
        assert_eq!(pages(0), [1]);
        assert_eq!(pages(19), [1]);
        assert_eq!(pages(20), [1]);
        assert_eq!(pages(59), [1, 2]);
        assert_eq!(pages(60), [1, 2, 3]);
    }
}
