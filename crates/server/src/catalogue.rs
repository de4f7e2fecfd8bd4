//! The demonstration catalogue: sixty invented products in six categories, so that a shop has something to sell.

use rusqlite::Connection;
use serde::Deserialize;

use crate::command_error::{CommandError, CommandResult};
use crate::store::products;
use crate::store::products::NewProduct;

/// The catalogue's text.
const DEMO: &str = include_str!("../data/catalogue.json");

/// A category of the catalogue.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Category {
    /// Its name.
    category: String,
    /// What is in it.
    products: Vec<Product>,
}

/// A product of the catalogue.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Product {
    /// Its name.
    name: String,
    /// Price of one unit, cents.
    price_cents: i64,
    /// What it is.
    description: String,
}

/// Adds the catalogue with `stock` units of each product, unless there are products already.
pub(crate) fn fill_if_empty(connection: &Connection, stock: i64) -> CommandResult<()> {
    if !products::is_empty(connection)? {
        return Ok(());
    }
    for Category { category, products } in parse()? {
        for Product { name, price_cents, description } in products {
            let product =
                NewProduct { name: &name, category: &category, description: &description, price_cents, stock };
            products::insert(connection, product)?;
        }
    }
    Ok(())
}

fn parse() -> CommandResult<Vec<Category>> {
    serde_json::from_str(DEMO).map_err(|error| CommandError::Broken(format!("built-in catalogue: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::limits;
    use std::collections::HashSet;

    #[test]
    fn the_catalogue_could_have_been_added_product_by_product() {
        let categories = parse().unwrap();
        assert_eq!(categories.len(), 6);
        let mut names = HashSet::new();
        for category in &categories {
            assert_eq!(category.products.len(), 10, "{}", category.category);
            for product in &category.products {
                assert!(names.insert(&product.name), "{} is there twice", product.name);
                assert!(limits::NAME_CHARS.contains(&product.name.chars().count()));
                assert!(limits::PRICE_CENTS.contains(&product.price_cents));
            }
        }
    }

    #[test]
    fn a_page_of_twenty_takes_several_packets() {
        for product in parse().unwrap().iter().flat_map(|category| &category.products) {
            let chars = product.description.chars().count();
            assert!((120..=160).contains(&chars), "{}: {chars} characters", product.name);
        }
    }
}
