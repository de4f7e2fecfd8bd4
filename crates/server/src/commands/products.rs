//! view_categories, view_products, add_product.

use shop_protocol::ErrorCode;
use shop_protocol::response::{Categories, ProductAdded, Products};

use crate::clock::now_ms;
use crate::errand::Errand;
use crate::failure::{Answer, Failure};
use crate::store::{products, users};
use crate::token::TokenHash;

/// Lists the categories.
pub(crate) async fn view_categories(errand: &mut Errand<'_>) -> Answer<Categories> {
    Ok(Categories { categories: errand.read(products::categories).await? })
}

/// Lists a page of products.
pub(crate) async fn view_products(
    errand: &mut Errand<'_>,
    category: Option<String>,
    page: u32,
    page_size: u32,
) -> Answer<Products> {
    errand.read(move |connection| products::page(connection, category.as_deref(), page, page_size)).await
}

/// A product to be added, as it came.
pub(crate) struct Product {
    /// See [`products::NewProduct`]; so for all fields.
    pub(crate) name: String,
    pub(crate) category: String,
    pub(crate) description: String,
    pub(crate) price_cents: i64,
    pub(crate) stock: i64,
}

/// Adds a product, for administrators.
pub(crate) async fn add_product(errand: &mut Errand<'_>, token: TokenHash, product: Product) -> Answer<ProductAdded> {
    let work = move |connection: &_| {
        if !users::session(connection, token, now_ms())?.admin {
            return Err(Failure::refused(ErrorCode::Forbidden, "only an administrator may add products"));
        }
        let Product { name, category, description, price_cents, stock } = &product;
        let (price_cents, stock) = (*price_cents, *stock);
        products::insert(connection, products::NewProduct { name, category, description, price_cents, stock })
    };
    Ok(ProductAdded { product_id: errand.write(work).await? })
}
