//! view_categories, view_products, add_product.

use protocol::ErrorCode;
use protocol::response::{Categories, ProductAdded, Products};

use crate::clock::now_ms;
use crate::command_error::{CommandError, CommandResult};
use crate::request_context::RequestContext;
use crate::store::{products, users};
use crate::token::TokenHash;

/// Lists the categories.
pub(super) async fn view_categories(context: &mut RequestContext<'_>) -> CommandResult<Categories> {
    Ok(Categories { categories: context.read(products::categories).await? })
}

/// Lists a page of products.
pub(super) async fn view_products(
    context: &mut RequestContext<'_>,
    category: Option<String>,
    page: u32,
    page_size: u32,
) -> CommandResult<Products> {
    context.read(move |connection| products::page(connection, category.as_deref(), page, page_size)).await
}

/// Product to be added; owns its texts, unlike [`products::NewProduct`].
pub(super) struct Product {
    pub(super) name: String,
    pub(super) category: String,
    pub(super) description: String,
    pub(super) price_cents: i64,
    pub(super) stock: i64,
}

/// Adds a product; administrators only.
pub(super) async fn add_product(
    context: &mut RequestContext<'_>,
    token: TokenHash,
    product: Product,
) -> CommandResult<ProductAdded> {
    let work = move |connection: &_| {
        if !users::session(connection, token, now_ms())?.admin {
            return Err(CommandError::refused(ErrorCode::Forbidden, "only administrators may add products"));
        }
        let Product { name, category, description, price_cents, stock } = &product;
        let (price_cents, stock) = (*price_cents, *stock);
        products::insert(connection, products::NewProduct { name, category, description, price_cents, stock })
    };
    Ok(ProductAdded { product_id: context.write(work).await? })
}
