//! Insertion of products and their categories.

use rusqlite::Connection;

use crate::command_error::CommandResult;

/// Product to be added.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewProduct<'a> {
    /// Name.
    pub(crate) name: &'a str,
    /// Name of the category, which is created if absent.
    pub(crate) category: &'a str,
    /// Description.
    pub(crate) description: &'a str,
    /// Price per unit, cents.
    pub(crate) price_cents: i64,
    /// Units in stock.
    pub(crate) stock: i64,
}

/// Adds a product and returns its id.
pub(crate) fn insert(connection: &Connection, product: NewProduct<'_>) -> CommandResult<i64> {
    let sql = "INSERT INTO categories (name, products) VALUES (?1, 1)
               ON CONFLICT (name) DO UPDATE SET products = products + 1 RETURNING id";
    let category_id: i64 = connection.prepare_cached(sql)?.query_row([product.category], |row| row.get(0))?;
    let sql = "INSERT INTO products (category_id, name, description, price_cents, added, stock)
               VALUES (?1, ?2, ?3, ?4, ?5, ?5)";
    let values = (category_id, product.name, product.description, product.price_cents, product.stock);
    Ok(connection.prepare_cached(sql)?.insert(values)?)
}

/// Returns whether the database has no products.
pub(crate) fn is_empty(connection: &Connection) -> CommandResult<bool> {
    Ok(!connection.prepare_cached("SELECT 1 FROM products LIMIT 1")?.exists([])?)
}
