//! place_order, submit_rating, view_order_history, view_order.

use protocol::request::OrderItem;
use protocol::response::{Done, OrderFound, OrderHistory, OrderPlaced};
use rusqlite::Connection;

use crate::clock::now_ms;
use crate::command_error::CommandResult;
use crate::request_context::RequestContext;
use crate::store::orders;
use crate::store::orders::NewOrder;
use crate::store::product_cache::Page;
use crate::store::users;
use crate::store::write_state::WriteState;
use crate::token::TokenHash;

/// Orders all items or none.
pub(super) async fn place_order(
    context: &mut RequestContext<'_>,
    token: TokenHash,
    items: Vec<OrderItem>,
    idempotency_key: Option<String>,
) -> CommandResult<OrderPlaced> {
    let work = move |state: &mut WriteState| {
        let now = now_ms();
        let user_id = state.session(token, now)?.user_id;
        let idempotency_key = idempotency_key.as_deref();
        orders::place(state, NewOrder { user_id, items: &items, idempotency_key, placed_at_ms: now })
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
    let work = move |state: &mut WriteState| {
        let user_id = state.session(token, now_ms())?.user_id;
        orders::rate(state, user_id, order_id, product_id, stars)
    };
    context.write(work).await?;
    Ok(Done {})
}

/// Lists a page of the user's orders.
pub(super) async fn view_order_history(
    context: &mut RequestContext<'_>,
    token: TokenHash,
    page: Page,
) -> CommandResult<OrderHistory> {
    let work = move |connection: &mut Connection| {
        let user_id = users::session(connection, token, now_ms())?.0.user_id;
        orders::history(connection, user_id, page)
    };
    context.read(work).await
}

/// Returns one of the user's orders.
pub(super) async fn view_order(
    context: &mut RequestContext<'_>,
    token: TokenHash,
    order_id: i64,
) -> CommandResult<OrderFound> {
    let work = move |connection: &mut Connection| {
        let user_id = users::session(connection, token, now_ms())?.0.user_id;
        orders::find(connection, user_id, order_id)
    };
    Ok(OrderFound { order: context.read(work).await? })
}
