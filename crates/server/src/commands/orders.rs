//! place_order, submit_rating, view_order_history.

use shop_protocol::request::OrderItem;
use shop_protocol::response::{Done, OrderHistory, OrderPlaced};

use crate::clock::now_ms;
use crate::errand::Errand;
use crate::failure::Answer;
use crate::store::orders::{self, NewOrder};
use crate::store::users;
use crate::token::TokenHash;

/// Orders all items or none.
pub(crate) async fn place_order(
    errand: &mut Errand<'_>,
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
    errand.write(work).await
}

/// Rates a product of an order.
pub(crate) async fn submit_rating(
    errand: &mut Errand<'_>,
    token: TokenHash,
    order_id: i64,
    product_id: i64,
    stars: u8,
) -> Answer<Done> {
    let work = move |connection: &_| {
        let user_id = users::session(connection, token, now_ms())?.user_id;
        orders::rate(connection, user_id, order_id, product_id, stars)
    };
    errand.write(work).await?;
    Ok(Done {})
}

/// Lists a page of one's own orders.
pub(crate) async fn view_order_history(
    errand: &mut Errand<'_>,
    token: TokenHash,
    page: u32,
    page_size: u32,
) -> Answer<OrderHistory> {
    let work = move |connection: &_| {
        let user_id = users::session(connection, token, now_ms())?.user_id;
        orders::history(connection, user_id, page, page_size)
    };
    errand.read(work).await
}
