//! Orders, and ratings of their items.

use protocol::ErrorCode;
use protocol::request::OrderItem;
use protocol::response::{Order, OrderHistory, OrderPlaced, OrderedItem};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::command_error::{CommandError, CommandResult};

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
///
/// After an error the stock of some items may be reduced: the caller must undo it, as the writer's savepoint does.
pub(crate) fn place(connection: &Connection, order: NewOrder<'_>) -> CommandResult<OrderPlaced> {
    if let Some(key) = order.idempotency_key
        && let Some(earlier) = find_by_key(connection, &order, key)?
    {
        return Ok(earlier);
    }
    let mut prices = Vec::with_capacity(order.items.len());
    for (index, item) in order.items.iter().enumerate() {
        prices.push(take_stock(connection, index, *item)?);
    }
    let total_cents = total_cents(order.items, &prices)?;
    let sql = "INSERT INTO orders (user_id, placed_at_ms, total_cents, idempotency_key) VALUES (?1, ?2, ?3, ?4)";
    let values = (order.user_id, order.placed_at_ms, total_cents, order.idempotency_key);
    let order_id = connection.prepare_cached(sql)?.insert(values)?;
    insert_items(connection, order_id, order.items, &prices)?;
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

/// Takes an item's units from the stock and returns the price per unit.
fn take_stock(connection: &Connection, index: usize, item: OrderItem) -> CommandResult<i64> {
    let sql = "UPDATE products SET stock = stock - ?2 WHERE id = ?1 AND stock >= ?2 RETURNING price_cents";
    let values = (item.product_id, item.quantity);
    let price = connection.prepare_cached(sql)?.query_row(values, |row| row.get(0)).optional()?;
    match price {
        Some(price_cents) => Ok(price_cents),
        None => Err(stock_error(connection, index, item)?),
    }
}

fn stock_error(connection: &Connection, index: usize, item: OrderItem) -> CommandResult<CommandError> {
    let sql = "SELECT name, stock FROM products WHERE id = ?1";
    let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?));
    let product = connection.prepare_cached(sql)?.query_row([item.product_id], read).optional()?;
    Ok(match product {
        None => {
            let path = format!("items[{index}].product_id");
            let message = format!("field '{path}': unknown product {}", item.product_id);
            CommandError::in_field(ErrorCode::NotFound, path, message)
        }
        Some((name, stock)) => {
            let path = format!("items[{index}].quantity");
            let message = format!(
                "field '{path}': {} units of product {} '{name}' requested, {stock} in stock; nothing was ordered",
                item.quantity, item.product_id
            );
            CommandError::in_field(ErrorCode::OutOfStock, path, message)
        }
    })
}

/// Returns the total price, cents. Fails if it exceeds the range of the type.
fn total_cents(items: &[OrderItem], prices: &[i64]) -> CommandResult<i64> {
    let mut total: i64 = 0;
    for (index, (item, price_cents)) in items.iter().zip(prices).enumerate() {
        let cost = item.quantity.checked_mul(*price_cents);
        total = cost.and_then(|cost| total.checked_add(cost)).ok_or_else(|| {
            let path = format!("items[{index}].quantity");
            let message = format!("field '{path}': the order's total exceeds {} cents", i64::MAX);
            CommandError::in_field(ErrorCode::InvalidField, path, message)
        })?;
    }
    Ok(total)
}

/// Rates a product of one of the user's orders, once.
pub(crate) fn rate(
    connection: &Connection,
    user_id: i64,
    order_id: i64,
    product_id: i64,
    stars: u8,
) -> CommandResult<()> {
    let sql = "SELECT 1 FROM orders WHERE id = ?1 AND user_id = ?2";
    if !connection.prepare_cached(sql)?.exists((order_id, user_id))? {
        let message = format!("field 'order_id': the user has no order {order_id}");
        return Err(CommandError::in_field(ErrorCode::NotFound, "order_id", message));
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
        Some(None) => store_rating(connection, order_id, product_id, stars),
    }
}

fn store_rating(connection: &Connection, order_id: i64, product_id: i64, stars: u8) -> CommandResult<()> {
    let sql = "UPDATE order_items SET stars = ?3 WHERE order_id = ?1 AND product_id = ?2";
    connection.prepare_cached(sql)?.execute((order_id, product_id, stars))?;
    let sql = "UPDATE products SET rating_sum = rating_sum + ?2, rating_count = rating_count + 1 WHERE id = ?1";
    connection.prepare_cached(sql)?.execute((product_id, stars))?;
    Ok(())
}

/// Returns one page of a user's orders, newest first.
pub(crate) fn history(connection: &Connection, user_id: i64, page: u32, page_size: u32) -> CommandResult<OrderHistory> {
    let sql = "SELECT count(*) FROM orders WHERE user_id = ?1";
    let total = connection.prepare_cached(sql)?.query_row([user_id], |row| row.get(0))?;
    let sql = "SELECT id, placed_at_ms, total_cents FROM orders WHERE user_id = ?1 ORDER BY id DESC LIMIT ?2 OFFSET ?3";
    let read = |row: &Row<'_>| {
        Ok(Order { order_id: row.get(0)?, placed_at_ms: row.get(1)?, total_cents: row.get(2)?, items: Vec::new() })
    };
    let offset = i64::from(page - 1) * i64::from(page_size);
    let mut statement = connection.prepare_cached(sql)?;
    let mut orders: Vec<Order> =
        statement.query_map((user_id, page_size, offset), read)?.collect::<rusqlite::Result<_>>()?;
    for order in &mut orders {
        order.items = items(connection, order.order_id)?;
    }
    Ok(OrderHistory { orders, page, page_size, total })
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
    fn totals_are_exact_or_rejected() {
        let item = |quantity| OrderItem { product_id: 1, quantity };
        assert_eq!(total_cents(&[item(3), item(2)], &[250, 1]).unwrap(), 752);
        for (items, prices) in [(vec![item(i64::MAX)], vec![2]), (vec![item(1), item(1)], vec![i64::MAX, 1])] {
            let Err(CommandError::Refused(error)) = total_cents(&items, &prices) else {
                panic!("{items:?} was accepted")
            };
            assert_eq!(error.code, ErrorCode::InvalidField);
        }
    }
}
