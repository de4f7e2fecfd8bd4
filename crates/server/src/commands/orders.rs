//! place_order, submit_rating, view_order_history.

use shop_protocol::request::OrderItem;
use shop_protocol::response::{Done, OrderHistory, OrderPlaced};

use crate::clock::now_ms;
use crate::failure::Answer;
use crate::shop::Shop;
use crate::store::orders::{self, NewOrder};
use crate::store::users;
use crate::token::TokenHash;

/// Orders all items or none.
pub(crate) async fn place_order(
    shop: &Shop,
    token: TokenHash,
    items: Vec<OrderItem>,
    idempotency_key: Option<String>,
) -> Answer<OrderPlaced> {
    let work = move |connection: &_| {
        let now = now_ms();
        let user_id = users::session(connection, token, now)?.user_id;
        let idempotency_key = idempotency_key.as_deref();
        orders::place(connection, NewOrder { user_id, items: &items, idempotency_key, placed_at_ms: now })
    };
    shop.store.write(work).await
}

/// Rates a product of an order.
pub(crate) async fn submit_rating(
    shop: &Shop,
    token: TokenHash,
    order_id: i64,
    product_id: i64,
    stars: u8,
) -> Answer<Done> {
    let work = move |connection: &_| {
        let user_id = users::session(connection, token, now_ms())?.user_id;
        orders::rate(connection, user_id, order_id, product_id, stars)
    };
    shop.store.write(work).await?;
    Ok(Done {})
}

/// Lists a page of one's own orders.
pub(crate) async fn view_order_history(
    shop: &Shop,
    token: TokenHash,
    page: u32,
    page_size: u32,
) -> Answer<OrderHistory> {
    let work = move |connection: &_| {
        let user_id = users::session(connection, token, now_ms())?.user_id;
        orders::history(connection, user_id, page, page_size)
    };
    shop.store.read(work).await
}
