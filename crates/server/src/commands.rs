//! Execution of commands: one function per command that needs more than the products in memory.
//!
//! Commands check tokens and reach database and password threads through their [`RequestContext`]. They have no
//! access to connections.

mod accounts;
mod orders;
mod products;

use protocol::response::Greeting;
use protocol::{PROTOCOL_VERSION, Port, Request, VERSION};
use serde::Serialize;

use crate::command_error::{CommandError, CommandResult};
use crate::request_context::RequestContext;
use crate::store::product_cache::Page;
use crate::token::TokenHash;

/// Returns whether the request needs neither database nor password threads.
pub(crate) fn is_answered_from_memory(request: &Request) -> bool {
    use Request::{Hello, ViewCategories, ViewProduct, ViewProducts};
    matches!(request, Hello {} | ViewCategories { .. } | ViewProducts { .. } | ViewProduct { .. })
}

/// Executes a request and appends its result to `output`, as JSON. After an error `output` may have a part of it.
pub(crate) async fn execute(
    context: &mut RequestContext<'_>,
    request: Request,
    port: Port,
    output: &mut Vec<u8>,
) -> CommandResult<()> {
    match request {
        Request::Hello {} => append(output, &greeting(port)),
        Request::Register { username, password } => {
            append(output, &accounts::register(context, username, password).await?)
        }
        Request::Login { username, password } => append(output, &accounts::login(context, username, password).await?),
        Request::Logout { token } => append(output, &accounts::logout(context, TokenHash::of(&token)).await?),
        Request::ChangePassword { token, current_password, new_password } => {
            let token = TokenHash::of(&token);
            append(output, &accounts::change_password(context, token, current_password, new_password).await?)
        }
        Request::ViewCategories { page, page_size } => {
            context.products().append_categories(Page { page, page_size }, output)
        }
        Request::ViewProducts { category, page, page_size } => {
            context.products().append_page(category.as_deref(), Page { page, page_size }, output)
        }
        Request::ViewProduct { product_id } => context.products().append_product(product_id, output),
        Request::AddProduct { token, name, category, description, price_cents, stock } => {
            let product = products::Product { name, category, description, price_cents, stock };
            append(output, &products::add_product(context, TokenHash::of(&token), product).await?)
        }
        Request::PlaceOrder { token, items, idempotency_key } => {
            append(output, &orders::place_order(context, TokenHash::of(&token), items, idempotency_key).await?)
        }
        Request::SubmitRating { token, order_id, product_id, stars } => {
            append(output, &orders::submit_rating(context, TokenHash::of(&token), order_id, product_id, stars).await?)
        }
        Request::ViewOrderHistory { token, page, page_size } => {
            let page = Page { page, page_size };
            append(output, &orders::view_order_history(context, TokenHash::of(&token), page).await?)
        }
        Request::ViewOrder { token, order_id } => {
            append(output, &orders::view_order(context, TokenHash::of(&token), order_id).await?)
        }
    }
}

fn greeting(port: Port) -> Greeting {
    Greeting { protocol: PROTOCOL_VERSION, server: VERSION.to_owned(), port: port.name().to_owned() }
}

fn append(output: &mut Vec<u8>, result: &impl Serialize) -> CommandResult<()> {
    serde_json::to_writer(output, result).map_err(|error| CommandError::Broken(format!("result as JSON: {error}")))
}
