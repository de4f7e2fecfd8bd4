//! Orders, and ratings of their items.

use protocol::ErrorCode;
use protocol::request::OrderItem;
use protocol::response::{Order, OrderHistory, OrderPlaced, OrderedItem};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::command_error::{CommandError, CommandResult};
use crate::store::product_cache::{Page, ProductChange};
use crate::store::write_state::WriteState;

/// Order to be placed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewOrder<'a> {
    /// Id of the buyer.
    pub(crate) user_id: i64,
    /// Items, each product at most once.
    pub(crate) items: &'a [OrderItem],
    /// Key that identifies a repetition.
    pub(crate) idempotency_key: Option<&'a str>,
    /// Current time, milliseconds since 1970-01-01 UTC.
    pub(crate) placed_at_ms: i64,
}

/// Places an order, or repeats the result of the order with the same key.
pub(crate) fn place(state: &mut WriteState, order: NewOrder<'_>) -> CommandResult<OrderPlaced> {
    if let Some(key) = order.idempotency_key
        && let Some(earlier) = find_by_key(state.connection(), &order, key)?
    {
        return Ok(earlier);
    }
    let mut prices = Vec::with_capacity(order.items.len());
    for (index, item) in order.items.iter().enumerate() {
        prices.push(check_stock(state, index, *item)?);
    }
    let total_cents = total_cents(order.items, &prices)?;
    // Nothing was changed so far, and nothing is refused from here on.
    let sql = "INSERT INTO orders (user_id, placed_at_ms, total_cents, idempotency_key) VALUES (?1, ?2, ?3, ?4)";
    let values = (order.user_id, order.placed_at_ms, total_cents, order.idempotency_key);
    let order_id = state.connection().prepare_cached(sql)?.insert(values)?;
    insert_items(state.connection(), order_id, order.items, &prices)?;
    for item in order.items {
        state.change_product(item.product_id, ProductChange { sold: item.quantity, ..ProductChange::default() });
    }
    Ok(OrderPlaced { order_id, total_cents, replayed: false })
}

fn insert_items(connection: &Connection, order_id: i64, items: &[OrderItem], prices: &[i64]) -> CommandResult<()> {
    let sql = "INSERT INTO order_items (order_id, product_id, quantity, price_cents) VALUES (?1, ?2, ?3, ?4)";
    let mut statement = connection.prepare_cached(sql)?;
    for (item, price_cents) in items.iter().zip(prices) {
        statement.execute((order_id, item.product_id, item.quantity, price_cents))?;
    }
    Ok(())
}

/// Returns the order with this key. Fails if it has other items.
fn find_by_key(connection: &Connection, order: &NewOrder<'_>, key: &str) -> CommandResult<Option<OrderPlaced>> {
    let sql = "SELECT id, total_cents FROM orders WHERE user_id = ?1 AND idempotency_key = ?2";
    let read = |row: &Row<'_>| Ok(OrderPlaced { order_id: row.get(0)?, total_cents: row.get(1)?, replayed: true });
    let found = connection.prepare_cached(sql)?.query_row((order.user_id, key), read).optional()?;
    let Some(earlier) = found else { return Ok(None) };
    let mut requested: Vec<(i64, i64)> = order.items.iter().map(|item| (item.product_id, item.quantity)).collect();
    requested.sort_unstable();
    let sql = "SELECT product_id, quantity FROM order_items WHERE order_id = ?1 ORDER BY product_id";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([earlier.order_id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if rows.collect::<rusqlite::Result<Vec<(i64, i64)>>>()? == requested {
        return Ok(Some(earlier));
    }
    let message = format!("field 'idempotency_key': order {} has this key and other items", earlier.order_id);
    Err(CommandError::in_field(ErrorCode::IdempotencyConflict, "idempotency_key", message))
}

/// Returns the price per unit of an item. Fails if the product does not exist or has too few units in stock.
fn check_stock(state: &WriteState, index: usize, item: OrderItem) -> CommandResult<i64> {
    let OrderItem { product_id, quantity } = item;
    match state.price_and_stock(product_id) {
        None => {
            let path = format!("items[{index}].product_id");
            let message = format!("field '{path}': unknown product {product_id}");
            Err(CommandError::in_field(ErrorCode::NotFound, path, message))
        }
        Some((_, stock)) if stock < quantity => {
            let path = format!("items[{index}].quantity");
            let name = state.product_name(product_id).unwrap_or_default();
            let units = if quantity == 1 { "1 unit".to_owned() } else { format!("{quantity} units") };
            let message = format!(
                "field '{path}': {units} of product {product_id} '{name}' requested, {stock} in stock; nothing was ordered"
            );
            Err(CommandError::in_field(ErrorCode::OutOfStock, path, message))
        }
        Some((price_cents, _)) => Ok(price_cents),
    }
}

/// Returns the total price, cents. The protocol's bounds keep it below 10^17.
fn total_cents(items: &[OrderItem], prices: &[i64]) -> CommandResult<i64> {
    let costs = items.iter().zip(prices).map(|(item, price_cents)| item.quantity.checked_mul(*price_cents));
    let total = costs.into_iter().try_fold(0_i64, |total, cost| total.checked_add(cost?));
    total.ok_or_else(|| CommandError::Broken("the total of an order exceeds the range of its type".to_owned()))
}

/// Rates a product of one of the user's orders, once.
pub(crate) fn rate(
    state: &mut WriteState,
    user_id: i64,
    order_id: i64,
    product_id: i64,
    stars: u8,
) -> CommandResult<()> {
    let connection = state.connection();
    let sql = "SELECT 1 FROM orders WHERE id = ?1 AND user_id = ?2";
    if !connection.prepare_cached(sql)?.exists((order_id, user_id))? {
        return Err(no_such_order(order_id));
    }
    let sql = "SELECT stars FROM order_items WHERE order_id = ?1 AND product_id = ?2";
    let rated: Option<Option<u8>> =
        connection.prepare_cached(sql)?.query_row((order_id, product_id), |row| row.get(0)).optional()?;
    match rated {
        None => {
            let message = format!("field 'product_id': product {product_id} is not in order {order_id}");
            Err(CommandError::in_field(ErrorCode::NotFound, "product_id", message))
        }
        Some(Some(stars)) => {
            let message = format!("product {product_id} of order {order_id} was already rated with {stars} stars");
            Err(CommandError::refused(ErrorCode::AlreadyRated, message))
        }
        Some(None) => {
            let sql = "UPDATE order_items SET stars = ?3 WHERE order_id = ?1 AND product_id = ?2";
            connection.prepare_cached(sql)?.execute((order_id, product_id, stars))?;
            let change = ProductChange { sold: 0, rating_sum: i64::from(stars), rating_count: 1 };
            state.change_product(product_id, change);
            Ok(())
        }
    }
}

/// Returns one page of a user's orders, newest first.
pub(crate) fn history(connection: &Connection, user_id: i64, page: Page) -> CommandResult<OrderHistory> {
    let Page { page, page_size } = page;
    let sql = "SELECT count(*) FROM orders WHERE user_id = ?1";
    let total = connection.prepare_cached(sql)?.query_row([user_id], |row| row.get(0))?;
    let sql = "SELECT id, placed_at_ms, total_cents FROM orders WHERE user_id = ?1 ORDER BY id DESC LIMIT ?2 OFFSET ?3";
    let offset = i64::from(page - 1) * i64::from(page_size);
    let mut statement = connection.prepare_cached(sql)?;
    let mut orders: Vec<Order> =
        statement.query_map((user_id, page_size, offset), read_order)?.collect::<rusqlite::Result<_>>()?;
    for order in &mut orders {
        order.items = items(connection, order.order_id)?;
    }
    Ok(OrderHistory { orders, page, page_size, total })
}

/// Returns one of the user's orders.
pub(crate) fn find(connection: &Connection, user_id: i64, order_id: i64) -> CommandResult<Order> {
    let sql = "SELECT id, placed_at_ms, total_cents FROM orders WHERE id = ?1 AND user_id = ?2";
    let found = connection.prepare_cached(sql)?.query_row((order_id, user_id), read_order).optional()?;
    let mut order = found.ok_or_else(|| no_such_order(order_id))?;
    order.items = items(connection, order_id)?;
    Ok(order)
}

/// Returns an order without its items.
fn read_order(row: &Row<'_>) -> rusqlite::Result<Order> {
    Ok(Order { order_id: row.get(0)?, placed_at_ms: row.get(1)?, total_cents: row.get(2)?, items: Vec::new() })
}

fn no_such_order(order_id: i64) -> CommandError {
    let message = format!("field 'order_id': the user has no order {order_id}");
    CommandError::in_field(ErrorCode::NotFound, "order_id", message)
}

fn items(connection: &Connection, order_id: i64) -> CommandResult<Vec<OrderedItem>> {
    let sql = "SELECT product_id, name, quantity, order_items.price_cents, stars
               FROM order_items JOIN products ON products.id = product_id WHERE order_id = ?1 ORDER BY product_id";
    let read = |row: &Row<'_>| {
        Ok(OrderedItem {
            product_id: row.get(0)?,
            name: row.get(1)?,
            quantity: row.get(2)?,
            price_cents: row.get(3)?,
            stars: row.get(4)?,
        })
    };
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_map([order_id], read)?.collect::<rusqlite::Result<_>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_exact_or_an_error() {
        let item = |quantity| OrderItem { product_id: 1, quantity };
        assert_eq!(total_cents(&[item(3), item(2)], &[250, 1]).unwrap(), 752);
        for (items, prices) in [(vec![item(i64::MAX)], vec![2]), (vec![item(1), item(1)], vec![i64::MAX, 1])] {
            assert!(matches!(total_cents(&items, &prices), Err(CommandError::Broken(_))));
        }
    }
}
