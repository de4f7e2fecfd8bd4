//! Menu items that order a cart, rate ordered products, and list past orders.

use std::fmt;

use inquire::InquireError;
use protocol::request::OrderItem;
use protocol::response::{Done, Order, OrderHistory, OrderPlaced, Product};
use protocol::{Request, limits};

use crate::menu::browse::choose_products;
use crate::menu::session::Session;
use crate::menu::{prompt, show};
use model::sample::Outcome;

/// Maximum number of past orders shown.
const HISTORY_ROWS: u32 = 20;

/// Products and units of the order that the user prepares.
#[derive(Default)]
struct Cart {
    items: Vec<(Product, i64)>,
}

impl Cart {
    /// Adds units of a product. A product has at most one item.
    fn add(&mut self, product: Product, quantity: i64) {
        match self.items.iter_mut().find(|(item, _)| item.product_id == product.product_id) {
            Some((_, units)) => *units += quantity,
            None => self.items.push((product, quantity)),
        }
    }

    fn total_cents(&self) -> i64 {
        self.items.iter().map(|(product, quantity)| product.price_cents.saturating_mul(*quantity)).sum()
    }

    fn order_items(&self) -> Vec<OrderItem> {
        let item =
            |(product, quantity): &(Product, i64)| OrderItem { product_id: product.product_id, quantity: *quantity };
        self.items.iter().map(item).collect()
    }
}

enum CartLine {
    Add(Product),
    OtherCategory,
    Order { total_cents: i64 },
    Cancel,
}

impl fmt::Display for CartLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CartLine::Add(product) => f.write_str(&show::product(product)),
            CartLine::OtherCategory => f.write_str("→ another category"),
            CartLine::Order { total_cents } => write!(f, "→ order the cart for {}", show::money(*total_cents)),
            CartLine::Cancel => f.write_str("→ cancel without ordering"),
        }
    }
}

pub(super) fn order(session: &mut Session) -> Result<(), InquireError> {
    let mut cart = Cart::default();
    let Some(mut products) = choose_products(session)? else { return Ok(()) };
    loop {
        match prompt::select(&cart_title(&cart), cart_lines(&cart, &products))? {
            Some(CartLine::Add(product)) => {
                let title = format!("How many {}?", product.name);
                if let Some(quantity) = prompt::number(&title, limits::QUANTITY)? {
                    cart.add(product, quantity);
                }
            }
            Some(CartLine::OtherCategory) => products = choose_products(session)?.unwrap_or(products),
            Some(CartLine::Order { .. }) => return place(session, &cart),
            Some(CartLine::Cancel) | None => return Ok(()),
        }
    }
}

fn cart_title(cart: &Cart) -> String {
    let items: Vec<String> = cart.items.iter().map(|(product, n)| format!("{n} × {}", product.name)).collect();
    if items.is_empty() { "Add to the cart:".to_owned() } else { format!("Cart: {}", items.join(", ")) }
}

fn cart_lines(cart: &Cart, products: &[Product]) -> Vec<CartLine> {
    let mut lines = Vec::new();
    if !cart.items.is_empty() {
        lines.push(CartLine::Order { total_cents: cart.total_cents() });
    }
    lines.extend(products.iter().cloned().map(CartLine::Add));
    lines.extend([CartLine::OtherCategory, CartLine::Cancel]);
    lines
}

/// Orders the cart. If the response is lost, the user may repeat the order: its idempotency key prevents a second one.
fn place(session: &mut Session, cart: &Cart) -> Result<(), InquireError> {
    let Some(token) = session.token() else { return Ok(()) };
    let key = session.order_key();
    let request = Request::PlaceOrder { token, items: cart.order_items(), idempotency_key: Some(key) };
    loop {
        match session.exchange(&request) {
            Ok(OrderPlaced { order_id, total_cents, .. }) => {
                show::line(&format!("Order {order_id} is placed: {}.", show::money(total_cents)));
                return Ok(());
            }
            Err(error) if error.outcome() == Outcome::Refused => return Ok(()),
            Err(_) if prompt::confirm("Repeat the request? It will not be ordered twice.")? => {}
            Err(_) => return Ok(()),
        }
    }
}

pub(super) fn history(session: &mut Session) -> Result<(), InquireError> {
    if let Some(orders) = fetch_history(session) {
        if orders.is_empty() {
            show::line("  No orders yet.");
        }
        for order in &orders {
            show::line(&show::order(order));
        }
    }
    Ok(())
}

fn fetch_history(session: &mut Session) -> Option<Vec<Order>> {
    let token = session.token()?;
    let request = Request::ViewOrderHistory { token, page: 1, page_size: HISTORY_ROWS };
    let OrderHistory { orders, total, .. } = session.exchange(&request).ok()?;
    if total > orders.len() as u64 {
        show::line(&format!("  The latest {} of {total} orders:", orders.len()));
    }
    Some(orders)
}

/// An ordered item without a rating.
struct Unrated {
    order_id: i64,
    product_id: i64,
    name: String,
}

impl fmt::Display for Unrated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (order {})", self.name, self.order_id)
    }
}

pub(super) fn rate(session: &mut Session) -> Result<(), InquireError> {
    let Some(orders) = fetch_history(session) else { return Ok(()) };
    let items = unrated(&orders);
    if items.is_empty() {
        show::line("  Nothing to rate: order something first.");
        return Ok(());
    }
    let Some(item) = prompt::select("Which product?", items)? else { return Ok(()) };
    let stars = limits::STARS.rev().filter_map(|stars| u8::try_from(stars).ok()).collect();
    let Some(stars) = prompt::select("How many stars?", stars)? else { return Ok(()) };
    let Some(token) = session.token() else { return Ok(()) };
    let request = Request::SubmitRating { token, order_id: item.order_id, product_id: item.product_id, stars };
    if session.exchange::<Done>(&request).is_ok() {
        show::line("Thank you.");
    }
    Ok(())
}

fn unrated(orders: &[Order]) -> Vec<Unrated> {
    let of_order = |order: &Order| {
        let order_id = order.order_id;
        let items = order.items.iter().filter(|item| item.stars.is_none());
        items
            .map(|item| Unrated { order_id, product_id: item.product_id, name: item.name.clone() })
            .collect::<Vec<Unrated>>()
    };
    orders.iter().flat_map(of_order).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(product_id: i64, price_cents: i64) -> Product {
        Product {
            product_id,
            name: format!("p{product_id}"),
            category: String::new(),
            description: String::new(),
            price_cents,
            stock: 1,
            rating_average: None,
            rating_count: 0,
        }
    }

    #[test]
    fn a_cart_adds_up_units_of_the_same_product() {
        let mut cart = Cart::default();
        assert_eq!(cart_title(&cart), "Add to the cart:");
        for (id, quantity) in [(1, 2), (2, 1), (1, 3)] {
            cart.add(product(id, 150), quantity);
        }
        assert_eq!(cart.total_cents(), 900);
        assert_eq!(cart_title(&cart), "Cart: 5 × p1, 1 × p2");
        let items: Vec<(i64, i64)> =
            cart.order_items().into_iter().map(|item| (item.product_id, item.quantity)).collect();
        assert_eq!(items, [(1, 5), (2, 1)]);
    }

    #[test]
    fn an_empty_cart_cannot_be_ordered() {
        let can_be_ordered =
            |cart: &Cart| cart_lines(cart, &[product(1, 1)]).iter().any(|line| matches!(line, CartLine::Order { .. }));
        let mut cart = Cart::default();
        assert!(!can_be_ordered(&cart));
        cart.add(product(1, 1), 1);
        assert!(can_be_ordered(&cart));
    }
}
