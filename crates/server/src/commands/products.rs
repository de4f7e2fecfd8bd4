//! add_product.

use protocol::ErrorCode;
use protocol::response::ProductAdded;

use crate::clock::now_ms;
use crate::command_error::{CommandError, CommandResult};
use crate::request_context::RequestContext;
use crate::store::product_cache::ProductRow;
use crate::store::products;
use crate::store::write_state::WriteState;
use crate::token::TokenHash;

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
    let address = context.address();
    let (name, category) = (product.name.clone(), product.category.clone());
    let (price_cents, stock) = (product.price_cents, product.stock);
    let work = move |state: &mut WriteState| {
        let session = state.session(token, now_ms())?;
        if !session.admin {
            tracing::warn!(user_id = session.user_id, %address, "refused to add a product: not an administrator");
            return Err(CommandError::refused(ErrorCode::Forbidden, "only administrators may add products"));
        }
        let Product { name, category, description, price_cents, stock } = &product;
        let (price_cents, stock) = (*price_cents, *stock);
        let new = products::NewProduct { name, category, description, price_cents, stock };
        let id = products::insert(state.connection(), new)?;
        let (name, category, description) = (name.clone(), category.clone(), description.clone());
        let (rating_sum, rating_count) = (0, 0);
        let row = ProductRow { id, name, category, description, price_cents, stock, rating_sum, rating_count };
        state.added_product(row);
        Ok((id, session.user_id))
    };
    let (product_id, user_id) = context.write(work).await?;
    tracing::info!(user_id, %address, product_id, name, category, price_cents, stock, "administrator added a product");
    Ok(ProductAdded { product_id })
}
