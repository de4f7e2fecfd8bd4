//! Menu items that list the products of a category, and add a product.

use std::fmt;

use inquire::InquireError;
use protocol::response::{Categories, Category, Product, ProductAdded, Products};
use protocol::{Request, limits};

use crate::menu::prompt::Prompted;
use crate::menu::session::Session;
use crate::menu::{prompt, show};

/// Products per page.
const PAGE_SIZE: u32 = 20;

struct CategoryLine(Category);

impl fmt::Display for CategoryLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0.name, self.0.products)
    }
}

pub(super) fn browse(session: &mut Session) -> Result<(), InquireError> {
    for product in choose_products(session)?.unwrap_or_default() {
        show::line(&format!("  {}", show::product(&product)));
    }
    Ok(())
}

/// Lets the user choose a category and returns its products; `None` if no category was chosen.
pub(super) fn choose_products(session: &mut Session) -> Prompted<Vec<Product>> {
    let Some(categories) = all_categories(session) else { return Ok(None) };
    if categories.is_empty() {
        show::line("The shop has no products yet; an administrator can add some.");
        return Ok(None);
    }
    let lines = categories.into_iter().map(CategoryLine).collect();
    let Some(CategoryLine(category)) = prompt::select("Which category?", lines)? else { return Ok(None) };
    Ok(Some(all_pages(session, &category.name)?))
}

/// Fetches all categories; `None` after an error, which was shown.
fn all_categories(session: &mut Session) -> Option<Vec<Category>> {
    let mut fetched = Vec::new();
    for page in 1.. {
        let request = Request::ViewCategories { page, page_size: PAGE_SIZE };
        let Categories { categories, total, .. } = session.exchange(&request).ok()?;
        let is_last = categories.is_empty();
        fetched.extend(categories);
        if is_last || fetched.len() as u64 >= total {
            break;
        }
    }
    Some(fetched)
}

/// Fetches the products of a category, page by page until the user declines.
fn all_pages(session: &mut Session, category: &str) -> Result<Vec<Product>, InquireError> {
    let mut fetched = Vec::new();
    for page in 1.. {
        let request = Request::ViewProducts { category: Some(category.to_owned()), page, page_size: PAGE_SIZE };
        let Ok(Products { products, total, .. }) = session.exchange(&request) else { break };
        let is_last = products.is_empty();
        fetched.extend(products);
        let remaining = total.saturating_sub(fetched.len() as u64);
        if is_last || remaining == 0 || !prompt::confirm(&format!("{remaining} more; fetch the next page?"))? {
            break;
        }
    }
    Ok(fetched)
}

pub(super) fn add_product(session: &mut Session) -> Result<(), InquireError> {
    let Some(token) = session.token() else { return Ok(()) };
    let Some(name) = prompt::text("Name:", limits::NAME_CHARS)? else { return Ok(()) };
    let Some(category) = prompt::text("Category:", limits::NAME_CHARS)? else { return Ok(()) };
    let Some(description) = prompt::text("Description:", limits::DESCRIPTION_CHARS)? else { return Ok(()) };
    let Some(price_cents) = prompt::number("Price in cents:", limits::PRICE_CENTS)? else { return Ok(()) };
    let Some(stock) = prompt::number("Units in stock:", limits::STOCK)? else { return Ok(()) };
    let request = Request::AddProduct { token, name, category, description, price_cents, stock };
    if let Ok(ProductAdded { product_id }) = session.exchange(&request) {
        show::line(&format!("Product {product_id} added."));
    }
    Ok(())
}
