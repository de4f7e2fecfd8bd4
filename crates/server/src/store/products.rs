//! Categories and products.

use protocol::ErrorCode;
use protocol::response::{Category, Product, Products};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::command_error::{CommandError, CommandResult};

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

/// Returns all categories, ordered by name.
pub(crate) fn categories(connection: &Connection) -> CommandResult<Vec<Category>> {
    let mut statement = connection.prepare_cached("SELECT name, products FROM categories ORDER BY name")?;
    let read = |row: &Row<'_>| Ok(Category { name: row.get(0)?, products: row.get(1)? });
    Ok(statement.query_map([], read)?.collect::<rusqlite::Result<_>>()?)
}

/// Columns that [`read_product`] expects, and their tables.
const COLUMNS: &str = "products.id, products.name, categories.name, description, price_cents, stock, rating_sum, \
                       rating_count FROM products JOIN categories ON categories.id = category_id";

/// Returns one page of products, of one category or of all, ordered by id.
pub(crate) fn page(
    connection: &Connection,
    category: Option<&str>,
    page: u32,
    page_size: u32,
) -> CommandResult<Products> {
    let offset = i64::from(page - 1) * i64::from(page_size);
    let (total, products) = match category {
        Some(name) => {
            let (id, total) = find_category(connection, name)?;
            let sql = format!("SELECT {COLUMNS} WHERE category_id = ?1 ORDER BY products.id LIMIT ?2 OFFSET ?3");
            (total, read_products(connection, &sql, (id, page_size, offset))?)
        }
        None => {
            let sql = "SELECT coalesce(sum(products), 0) FROM categories";
            let total = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
            let sql = format!("SELECT {COLUMNS} ORDER BY products.id LIMIT ?1 OFFSET ?2");
            (total, read_products(connection, &sql, (page_size, offset))?)
        }
    };
    Ok(Products { products, page, page_size, total })
}

/// Returns a category's id and its number of products.
fn find_category(connection: &Connection, name: &str) -> CommandResult<(i64, u64)> {
    let sql = "SELECT id, products FROM categories WHERE name = ?1";
    let found = connection.prepare_cached(sql)?.query_row([name], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    found.ok_or_else(|| {
        let message = format!("field 'category': unknown category '{name}'; view_categories lists all");
        CommandError::in_field(ErrorCode::NotFound, "category", message)
    })
}

fn read_products(connection: &Connection, sql: &str, values: impl rusqlite::Params) -> CommandResult<Vec<Product>> {
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_map(values, read_product)?.collect::<rusqlite::Result<_>>()?)
}

fn read_product(row: &Row<'_>) -> rusqlite::Result<Product> {
    let (sum, count): (i64, i64) = (row.get(6)?, row.get(7)?);
    Ok(Product {
        product_id: row.get(0)?,
        name: row.get(1)?,
        category: row.get(2)?,
        description: row.get(3)?,
        price_cents: row.get(4)?,
        stock: row.get(5)?,
        rating_average: (count > 0).then(|| sum as f64 / count as f64),
        rating_count: count.unsigned_abs(),
    })
}
