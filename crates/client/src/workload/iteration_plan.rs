//! What a virtual user wants in one turn, decided before anything is sent. Pure.
//!
//! A turn's wishes depend on the seed, the client, the virtual user and the turn's number, and on nothing that the
//! network does; they are fitted to the products that the shop really has.

use protocol::request::OrderItem;
use protocol::response::Product;

use crate::workload::seed::{Purpose, Stream, index};

/// Different products in an order, at most.
const MAX_ITEMS: u64 = 3;
/// Pieces of a product in an order, at most.
const MAX_UNITS: u64 = 3;

/// The wishes of one turn.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct IterationPlan {
    /// Which page of the products: a position in [0, 1).
    page: f64,
    /// Which products of the page, and how many units.
    items: Vec<PlannedItem>,
    /// Stars for the first item of the order.
    pub(super) stars: u8,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct PlannedItem {
    /// A position in [0, 1) among the page's products.
    position: f64,
    units: i64,
}

impl IterationPlan {
    /// What virtual user `user` of `client` wants in turn `turn`.
    pub(super) fn new(seed: u64, client: &str, user: u32, turn: u64) -> Self {
        let mut stream = Stream::new(seed, client, user, Purpose::Turn(turn));
        let page = stream.unit();
        let stars = stream.one_to(5) as u8;
        let count = stream.one_to(MAX_ITEMS);
        let items = (0..count)
            .map(|_| PlannedItem { position: stream.unit(), units: stream.one_to(MAX_UNITS) as i64 })
            .collect();
        Self { page, items, stars }
    }

    /// The page to ask for, from 1, when there are `products` of them. Only full pages are asked for, so that
    /// responses are alike.
    pub(super) fn page(&self, products: u64, page_size: u32) -> u32 {
        let full_pages = (products / u64::from(page_size)).max(1);
        u32::try_from(1 + index(self.page, full_pages)).unwrap_or(u32::MAX)
    }

    /// The order, out of the products on the page that was seen; empty when the page was.
    ///
    /// Products that are sold out are skipped as long as there are others.
    pub(super) fn order(&self, seen: &[Product]) -> Vec<OrderItem> {
        let in_stock: Vec<&Product> = seen.iter().filter(|product| product.stock >= MAX_UNITS as i64).collect();
        let candidates = if in_stock.is_empty() { seen.iter().collect() } else { in_stock };
        let mut left = candidates;
        let mut items = Vec::new();
        for wish in self.items.iter().take(left.len()) {
            let product = left.remove(index(wish.position, left.len() as u64) as usize);
            items.push(OrderItem { product_id: product.product_id, quantity: wish.units });
        }
        items
    }

    /// The order when `product` was added because all else ran out.
    pub(super) fn order_of(&self, product: i64) -> Vec<OrderItem> {
        self.items.iter().take(1).map(|wish| OrderItem { product_id: product, quantity: wish.units }).collect()
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
    fn the_same_turn_has_the_same_wishes_and_others_have_others() {
        let plan = |seed, turn| IterationPlan::new(seed, "client-1", 4, turn);
        assert_eq!(plan(9, 3), plan(9, 3));
        assert_ne!(plan(9, 3), plan(9, 4));
        assert_ne!(plan(9, 3), plan(8, 3));
    }

    #[test]
    fn an_order_has_one_to_three_different_products_of_those_in_stock() {
        let seen: Vec<Product> = (1..=20).map(|id| product(id, if id % 2 == 0 { 0 } else { 50 })).collect();
        let mut sizes = [0; 4];
        for turn in 0..500 {
            let items = IterationPlan::new(1, "", 0, turn).order(&seen);
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
    fn with_nothing_in_stock_the_order_is_tried_all_the_same() {
        assert!(!IterationPlan::new(1, "", 0, 0).order(&[product(1, 0)]).is_empty());
        assert!(IterationPlan::new(1, "", 0, 0).order(&[]).is_empty());
    }

    #[test]
    fn only_full_pages_are_asked_for() {
        let pages = |products| {
            let mut seen: Vec<u32> =
                (0..300).map(|turn| IterationPlan::new(1, "", 0, turn).page(products, 20)).collect();
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
