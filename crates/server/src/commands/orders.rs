//! place_order, submit_rating, view_order_history.

use protocol::request::OrderItem;
use protocol::response::{Done, OrderHistory, OrderPlaced};

use crate::clock::now_ms;
use crate::command_error::CommandResult;
use crate::request_context::RequestContext;
use crate::store::orders;
use crate::store::orders::NewOrder;
use crate::store::users;
use crate::token::TokenHash;

/// Orders all items or none.
pub(super) async fn place_order(
    context: &mut RequestContext<'_>,
    token: TokenHash,
    items: Vec<OrderItem>,
    idempotency_key: Option<String>,
) -> CommandResult<OrderPlaced> {
    let work = move |connection: &_| {
        let now = now_ms();
        let user_id = users::session(connection, token, now)?.user_id;
        let idempotency_key = idempotency_key.as_deref();
        orders::place(connection, NewOrder { user_id, items: &items, idempotency_key, placed_at_ms: now })
    };
    context.write(work).await
}

/// Rates a product of one of the user's orders.
pub(super) async fn submit_rating(
    context: &mut RequestContext<'_>,
    token: TokenHash,
    order_id: i64,
    product_id: i64,
    stars: u8,
) -> CommandResult<Done> {
    let work = move |connection: &_| {
        let user_id = users::session(connection, token, now_ms())?.user_id;
        orders::rate(connection, user_id, order_id, product_id, stars)
    };
    context.write(work).await?;
    Ok(Done {})
}

/// Lists a page of the user's orders.
pub(super) async fn view_order_history(
    context: &mut RequestContext<'_>,
    token: TokenHash,
    page: u32,
    page_size: u32,
) -> CommandResult<OrderHistory> {
    let work = move |connection: &_| {
        let user_id = users::session(connection, token, now_ms())?.user_id;
        orders::history(connection, user_id, page, page_size)
    };
    context.read(work).await
}
