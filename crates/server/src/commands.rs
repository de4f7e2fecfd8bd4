//! Execution of commands: one function per command, in the order of the protocol's table.
//!
//! Commands check tokens and reach database and password threads through their [`RequestContext`]. They have no
//! access to connections.

mod accounts;
mod orders;
mod products;

use protocol::Request;
use serde::Serialize;

use crate::command_error::{CommandError, CommandResult};
use crate::request_context::RequestContext;
use crate::token::TokenHash;

/// Executes a request and returns its result as JSON.
pub(crate) async fn execute(context: &mut RequestContext<'_>, request: Request) -> CommandResult<Vec<u8>> {
    match request {
        Request::Register { username, password } => json(&accounts::register(context, username, password).await?),
        Request::Login { username, password } => json(&accounts::login(context, username, password).await?),
        Request::Logout { token } => json(&accounts::logout(context, TokenHash::of(&token)).await?),
        Request::ChangePassword { token, current_password, new_password } => {
            let token = TokenHash::of(&token);
            json(&accounts::change_password(context, token, current_password, new_password).await?)
        }
        Request::ViewCategories {} => json(&products::view_categories(context).await?),
        Request::ViewProducts { category, page, page_size } => {
            json(&products::view_products(context, category, page, page_size).await?)
        }
        Request::AddProduct { token, name, category, description, price_cents, stock } => {
            let product = products::Product { name, category, description, price_cents, stock };
            json(&products::add_product(context, TokenHash::of(&token), product).await?)
        }
        Request::PlaceOrder { token, items, idempotency_key } => {
            json(&orders::place_order(context, TokenHash::of(&token), items, idempotency_key).await?)
        }
        Request::SubmitRating { token, order_id, product_id, stars } => {
            json(&orders::submit_rating(context, TokenHash::of(&token), order_id, product_id, stars).await?)
        }
        Request::ViewOrderHistory { token, page, page_size } => {
            json(&orders::view_order_history(context, TokenHash::of(&token), page, page_size).await?)
        }
    }
}

fn json(result: &impl Serialize) -> CommandResult<Vec<u8>> {
    serde_json::to_vec(result).map_err(|error| CommandError::Broken(format!("result as JSON: {error}")))
}
