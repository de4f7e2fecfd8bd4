//! Demonstration catalogue: 60 fictional products in six categories.

use rusqlite::Connection;
use serde::Deserialize;

use crate::command_error::{CommandError, CommandResult};
use crate::store::products;
use crate::store::products::NewProduct;

/// Catalogue as JSON.
const DEMO: &str = include_str!("../data/catalogue.json");

/// Category of the catalogue.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Category {
    /// Name.
    category: String,
    /// Products of the category.
    products: Vec<Product>,
}

/// Product of the catalogue.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Product {
    /// Name.
    name: String,
    /// Price per unit, cents.
    price_cents: i64,
    /// Description.
    description: String,
}

/// Adds the catalogue, with `stock` units of each product, if the database has no products.
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
    fn the_catalogue_is_within_the_protocols_bounds() {
        let categories = parse().unwrap();
        assert_eq!(categories.len(), 6);
        let mut names = HashSet::new();
        for category in &categories {
            assert_eq!(category.products.len(), 10, "{}", category.category);
            for product in &category.products {
                assert!(names.insert(&product.name), "{} occurs twice", product.name);
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
