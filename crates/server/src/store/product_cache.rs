//! All products and categories in memory, as JSON: views of products need neither the database nor another thread.
//!
//! The database stays the truth. The writer thread publishes its changes here after their commit and before it responds,
//! so a request that follows a response sees the effect of that response.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use protocol::ErrorCode;
use rusqlite::{Connection, Row};
use serde::Serialize;

use crate::command_error::{CommandError, CommandResult};

/// Cache of all products.
#[derive(Debug, Default)]
pub(crate) struct ProductCache {
    products: RwLock<Products>,
}

/// Changes of one product by the orders and ratings of a transaction.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ProductChange {
    /// Units sold.
    pub(crate) sold: i64,
    /// Sum of the stars of new ratings.
    pub(crate) rating_sum: i64,
    /// Number of new ratings.
    pub(crate) rating_count: i64,
}

/// Product as it is in the database.
#[derive(Debug, Clone)]
pub(crate) struct ProductRow {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) category: String,
    pub(crate) description: String,
    pub(crate) price_cents: i64,
    pub(crate) stock: i64,
    pub(crate) rating_sum: i64,
    pub(crate) rating_count: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Products {
    /// Ordered by id.
    products: Vec<CachedProduct>,
    /// Positions in `products`, ordered, by the category's name.
    categories: BTreeMap<String, Vec<usize>>,
}

/// Product with its JSON.
#[derive(Debug)]
pub(crate) struct CachedProduct {
    id: i64,
    pub(crate) price_cents: i64,
    pub(crate) stock: i64,
    rating_sum: i64,
    rating_count: i64,
    /// The product in responses, as [`protocol::response::Product`].
    json: Vec<u8>,
    /// Length of the start of `json` that never changes: up to the stock.
    constant_bytes: usize,
    pub(crate) name: String,
}

/// Page of a listing: its number, from 1, and its maximum number of rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    pub(crate) page: u32,
    pub(crate) page_size: u32,
}

impl Page {
    /// Returns the page's part of `rows`, which may be empty.
    fn of<T>(self, rows: &[T]) -> &[T] {
        let size = self.page_size as usize;
        let start = (self.page as usize - 1).saturating_mul(size).min(rows.len());
        &rows[start..(start + size).min(rows.len())]
    }

    /// Appends the end of a listing with `total` rows on all pages.
    fn append_end(self, total: usize, output: &mut Vec<u8>) {
        let Self { page, page_size } = self;
        // Writing to memory cannot fail.
        let _ = write!(output, r#"],"page":{page},"page_size":{page_size},"total":{total}}}"#);
    }
}

impl ProductCache {
    /// Reads all products.
    pub(crate) fn load(&self, connection: &Connection) -> CommandResult<()> {
        let sql = "SELECT products.id, products.name, categories.name, description, price_cents, stock, rating_sum,
                          rating_count
                   FROM products JOIN categories ON categories.id = category_id ORDER BY products.id";
        let mut statement = connection.prepare(sql)?;
        let mut loaded = Products::default();
        for row in statement.query_map([], ProductRow::read)? {
            loaded.insert(row?)?;
        }
        *self.products.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(())
    }

    /// Returns the products for reading. The writer waits for the end of all readers, so keep it briefly.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Products> {
        self.products.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies the changes of a committed transaction.
    pub(crate) fn publish(&self, changes: &HashMap<i64, ProductChange>, added: Vec<ProductRow>) -> CommandResult<()> {
        let mut products = self.products.write().unwrap_or_else(PoisonError::into_inner);
        for (id, change) in changes {
            if let Ok(index) = products.find(*id) {
                products.products[index].apply(*change);
            }
        }
        added.into_iter().try_for_each(|product| products.insert(product))
    }
}

impl Products {
    fn find(&self, id: i64) -> Result<usize, usize> {
        self.products.binary_search_by_key(&id, |product| product.id)
    }

    /// Returns the product with this id.
    pub(crate) fn get(&self, id: i64) -> Option<&CachedProduct> {
        self.find(id).ok().map(|index| &self.products[index])
    }

    /// Adds a product, whose id is above all others'.
    fn insert(&mut self, row: ProductRow) -> CommandResult<()> {
        let product = CachedProduct::new(&row)?;
        self.categories.entry(row.category).or_default().push(self.products.len());
        self.products.push(product);
        Ok(())
    }

    /// Appends the JSON of one page of products, of one category or of all, ordered by id.
    pub(crate) fn append_page(&self, category: Option<&str>, page: Page, output: &mut Vec<u8>) -> CommandResult<()> {
        output.extend_from_slice(br#"{"products":["#);
        let total = match category {
            None => {
                append_list(output, page.of(&self.products).iter().map(|product| product.json.as_slice()));
                self.products.len()
            }
            Some(name) => {
                let positions = self.categories.get(name).ok_or_else(|| unknown_category(name))?;
                let page = page.of(positions).iter();
                append_list(output, page.map(|position| self.products[*position].json.as_slice()));
                positions.len()
            }
        };
        page.append_end(total, output);
        Ok(())
    }

    /// Appends the JSON of one product.
    pub(crate) fn append_product(&self, id: i64, output: &mut Vec<u8>) -> CommandResult<()> {
        let product = self.get(id).ok_or_else(|| {
            let message = format!("field 'product_id': unknown product {id}; view_products lists all");
            CommandError::in_field(ErrorCode::NotFound, "product_id", message)
        })?;
        output.extend_from_slice(br#"{"product":"#);
        output.extend_from_slice(&product.json);
        output.push(b'}');
        Ok(())
    }

    /// Appends the JSON of one page of categories, ordered by name.
    pub(crate) fn append_categories(&self, page: Page, output: &mut Vec<u8>) -> CommandResult<()> {
        output.extend_from_slice(br#"{"categories":["#);
        let skipped = (page.page as usize - 1).saturating_mul(page.page_size as usize);
        let shown = self.categories.iter().skip(skipped).take(page.page_size as usize);
        for (index, (name, products)) in shown.enumerate() {
            if index > 0 {
                output.push(b',');
            }
            output.extend_from_slice(br#"{"name":"#);
            append_json(output, name)?;
            let _ = write!(output, r#","products":{}}}"#, products.len());
        }
        page.append_end(self.categories.len(), output);
        Ok(())
    }
}

impl CachedProduct {
    fn new(row: &ProductRow) -> CommandResult<Self> {
        let mut json = Vec::new();
        let _ = write!(json, r#"{{"product_id":{},"name":"#, row.id);
        append_json(&mut json, &row.name)?;
        json.extend_from_slice(br#","category":"#);
        append_json(&mut json, &row.category)?;
        json.extend_from_slice(br#","description":"#);
        append_json(&mut json, &row.description)?;
        let _ = write!(json, r#","price_cents":{},"stock":"#, row.price_cents);
        let mut product = Self {
            id: row.id,
            price_cents: row.price_cents,
            stock: row.stock,
            rating_sum: row.rating_sum,
            rating_count: row.rating_count,
            constant_bytes: json.len(),
            json,
            name: row.name.clone(),
        };
        product.append_variable_part();
        Ok(product)
    }

    fn apply(&mut self, change: ProductChange) {
        self.stock -= change.sold;
        self.rating_sum += change.rating_sum;
        self.rating_count += change.rating_count;
        self.json.truncate(self.constant_bytes);
        self.append_variable_part();
    }

    fn append_variable_part(&mut self) {
        let Self { stock, rating_sum, rating_count, json, .. } = self;
        let _ = match rating_count {
            0 => write!(json, r#"{stock},"rating_average":null,"rating_count":0}}"#),
            _ => {
                // Debug keeps the fraction of 5.0, as the JSON library does.
                let average = *rating_sum as f64 / *rating_count as f64;
                write!(json, r#"{stock},"rating_average":{average:?},"rating_count":{rating_count}}}"#)
            }
        };
    }
}

impl ProductRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            name: row.get(1)?,
            category: row.get(2)?,
            description: row.get(3)?,
            price_cents: row.get(4)?,
            stock: row.get(5)?,
            rating_sum: row.get(6)?,
            rating_count: row.get(7)?,
        })
    }
}

fn append_list<'a>(output: &mut Vec<u8>, rows: impl Iterator<Item = &'a [u8]>) {
    for (index, json) in rows.enumerate() {
        if index > 0 {
            output.push(b',');
        }
        output.extend_from_slice(json);
    }
}

fn append_json(output: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) -> CommandResult<()> {
    serde_json::to_writer(output, value).map_err(|error| CommandError::Broken(format!("text as JSON: {error}")))
}

fn unknown_category(name: &str) -> CommandError {
    let message = format!("field 'category': unknown category '{name}'; view_categories lists all");
    CommandError::in_field(ErrorCode::NotFound, "category", message)
}

#[cfg(test)]
mod tests;
