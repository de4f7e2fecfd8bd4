//! Consistency check of a database: units sold against units ordered, per product, and totals against items.
//!
//! The check reads one snapshot, so it works while the shop is running.

use std::path::Path;

use model::messages::server::ConsistencyReport;
use rusqlite::Connection;

use crate::error::ServerError;
use crate::store::damage;
use crate::store::schema::open_for_reading;

/// Queries that count inconsistent rows. Each takes time proportional to the number of rows; in SQLite a join of all
/// orders with all sums would take quadratic time.
const FAULTS: [&str; 4] = [
    // Ordered products that do not exist, or whose units do not add up.
    "SELECT count(*) FROM (SELECT product_id, sum(quantity) AS units FROM order_items GROUP BY product_id)
     LEFT JOIN products ON products.id = product_id WHERE products.id IS NULL OR stock < 0 OR added - stock <> units",
    // Products without orders whose stock has changed.
    "SELECT count(*) FROM products WHERE stock <> added AND id NOT IN (SELECT product_id FROM order_items)",
    // Orders without items, or whose total differs from their items.
    "SELECT count(*) FROM orders WHERE total_cents IS NOT
     (SELECT sum(quantity * price_cents) FROM order_items WHERE order_id = orders.id)",
    // Items of orders that do not exist.
    "SELECT count(*) FROM order_items WHERE NOT EXISTS (SELECT 1 FROM orders WHERE orders.id = order_id)",
];

/// Checks the database at `path`.
///
/// # Errors
/// The database cannot be read.
pub(crate) fn check(path: &Path) -> Result<ConsistencyReport, ServerError> {
    let connection = open_for_reading(path)?;
    damage::check(path, &connection)?;
    read(&connection).map_err(|cause| ServerError::database(path, "check", cause))
}

fn read(connection: &Connection) -> rusqlite::Result<ConsistencyReport> {
    let snapshot = connection.unchecked_transaction()?;
    let number = |sql: &str| snapshot.query_row(sql, [], |row| row.get::<_, i64>(0));
    let units_added = number("SELECT coalesce(sum(added), 0) FROM products")?;
    let units_in_stock = number("SELECT coalesce(sum(stock), 0) FROM products")?;
    let mut faults = 0;
    for sql in FAULTS {
        faults += number(sql)?;
    }
    Ok(ConsistencyReport {
        products: number("SELECT count(*) FROM products")?,
        units_added,
        units_in_stock,
        units_sold: units_added - units_in_stock,
        units_ordered: number("SELECT coalesce(sum(quantity), 0) FROM order_items")?,
        orders: number("SELECT count(*) FROM orders")?,
        users: number("SELECT count(*) FROM users")?,
        consistent: faults == 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Durability;
    use crate::grace_period::GracePeriod;
    use crate::store::schema::open_for_writing;
    use rusqlite::StatementStatus;

    /// One user, two products of which 3 units of the first were sold, in one order of 30 cents.
    const CONSISTENT: &str = "
        INSERT INTO users VALUES (1, 'ann', '', 0, 0);
        INSERT INTO categories VALUES (1, 'Things', 2);
        INSERT INTO products (id, category_id, name, description, price_cents, added, stock)
            VALUES (1, 1, '', '', 10, 9, 6), (2, 1, '', '', 10, 9, 9);
        INSERT INTO orders VALUES (1, 1, 0, 30, NULL);
        INSERT INTO order_items VALUES (1, 1, 3, 10, NULL);
        PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON;";

    fn is_consistent_after(change: &str) -> bool {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shop.db");
        let connection = open_for_writing(&path, Durability::Normal, &GracePeriod::default()).unwrap();
        connection.execute_batch(CONSISTENT).unwrap();
        connection.execute_batch(change).unwrap();
        check(&path).unwrap().consistent
    }

    #[test]
    fn an_unchanged_database_is_consistent() {
        assert!(is_consistent_after(""));
    }

    #[test]
    fn every_inconsistency_is_detected() {
        for change in [
            "UPDATE products SET stock = 5 WHERE id = 1",
            "UPDATE products SET stock = 8 WHERE id = 2",
            "UPDATE products SET stock = -1, added = 2 WHERE id = 1",
            "UPDATE products SET stock = stock + 2 * id - 3",
            "UPDATE order_items SET quantity = 4",
            "UPDATE order_items SET product_id = 2",
            "UPDATE order_items SET price_cents = 11",
            "UPDATE orders SET total_cents = 31",
            "DELETE FROM order_items",
            "DELETE FROM orders",
            "DELETE FROM products WHERE id = 1",
            "INSERT INTO orders VALUES (2, 1, 0, 0, NULL)",
        ] {
            assert!(!is_consistent_after(change), "not detected: {change}");
        }
    }

    /// Returns the steps of SQLite's virtual machine that each query of [`FAULTS`] takes for this number of orders.
    fn steps(orders: u32) -> [i32; 4] {
        let directory = tempfile::tempdir().unwrap();
        let connection =
            open_for_writing(&directory.path().join("shop.db"), Durability::Normal, &GracePeriod::default()).unwrap();
        connection.execute_batch(CONSISTENT).unwrap();
        let many = format!(
            "WITH RECURSIVE n (id) AS (SELECT 2 UNION ALL SELECT id + 1 FROM n WHERE id < {orders})
                 INSERT INTO orders SELECT id, 1, 0, 10, NULL FROM n;
             INSERT INTO order_items SELECT id, 1, 1, 10, NULL FROM orders WHERE id > 1;"
        );
        connection.execute_batch(&many).unwrap();
        FAULTS.map(|sql| {
            let mut statement = connection.prepare(sql).unwrap();
            statement.query_row([], |row| row.get::<_, i64>(0)).unwrap();
            statement.get_status(StatementStatus::VmStep)
        })
    }

    #[test]
    fn the_work_is_proportional_to_the_number_of_orders() {
        // 4 times the orders: 4 times the steps if linear, 16 times if quadratic.
        for (few, many) in steps(1_000).into_iter().zip(steps(4_000)) {
            assert!(many > 0 && many < 6 * few, "{few} steps for 1000 orders, {many} for 4000");
        }
    }
}
