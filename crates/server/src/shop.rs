//! The shop without its sockets: made ready at the start, then answers requests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use protocol::{Request, limits};
use rusqlite::Connection;
use serde::Serialize;
use std::panic::AssertUnwindSafe;
use tokio_util::sync::CancellationToken;

use crate::accept;
use crate::accept::Listeners;
use crate::catalogue;
use crate::clock::now_ms;
use crate::command_error::{CommandError, CommandResult};
use crate::commands::{accounts, orders, products};
use crate::config::{Admin, Catalogue, Config, Connections};
use crate::error::ServerError;
use crate::passwords;
use crate::passwords::PasswordPool;
use crate::request_context::RequestContext;
use crate::request_timing::RequestTiming;
use crate::secret::Secret;
use crate::store;
use crate::store::Store;
use crate::store::users;
use crate::store::users::Role;
use crate::token;
use crate::token::TokenHash;
use crate::trace::Trace;

/// A counter that all threads write to, on separate cache lines: neighbouring fields are only read.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counter(AtomicU64);

/// A shop that is ready to be served.
#[derive(Debug)]
pub struct Shop {
    /// The database.
    pub(crate) store: Store,
    /// The threads that hash passwords.
    pub(crate) passwords: PasswordPool,
    /// How long a token is valid after login.
    pub(crate) token_lifetime: Duration,
    /// What connections may do.
    pub(crate) connections: Connections,
    /// Where it is written down what TCP went through for each exchange.
    pub(crate) trace: Option<Trace>,
    /// Responses made so far.
    exchanges: Counter,
    /// The password that was invented for the administrator just now.
    invented_password: Option<Secret>,
}

impl Shop {
    /// Makes the database ready, with the administrator's account and the catalogue, and starts the threads.
    ///
    /// # Errors
    /// When the database cannot be used, or the administrator's account not be made.
    pub fn open(config: &Config) -> Result<Self, ServerError> {
        let passwords = PasswordPool::start(&config.passwords)?;
        let mut connection = store::open_for_writing(&config.database, config.storage.durability)?;
        let invented_password = fill(&mut connection, config)?;
        let store = Store::start(&config.database, connection, &config.storage)?;
        let trace = config.trace.as_deref().map(Trace::start).transpose()?;
        let (token_lifetime, connections) = (config.token_lifetime.as_duration(), config.connections.clone());
        let exchanges = Counter::default();
        Ok(Self { store, passwords, token_lifetime, connections, trace, exchanges, invented_password })
    }

    /// The administrator's password, if it was invented because none was set and there was no such account. It is kept
    /// nowhere else: show it once.
    #[must_use]
    pub fn invented_password(&self) -> Option<&Secret> {
        self.invented_password.as_ref()
    }

    /// Serves until `shutdown` is cancelled and the requests in flight are answered, then closes the database.
    pub async fn serve(self, listeners: Listeners, shutdown: CancellationToken) {
        accept::serve(self, listeners, shutdown).await;
    }

    /// A number for the next response, from 1, that no other has.
    pub(crate) fn next_exchange(&self) -> u64 {
        self.exchanges.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Carries out a request; gives the JSON of its result, and what it spent. A panic on the way is an answer like any
    /// other.
    pub(crate) async fn answer(&self, request: Request) -> (CommandResult<Vec<u8>>, RequestTiming) {
        let mut context = RequestContext::new(self);
        let caught = AssertUnwindSafe(carry_out(&mut context, request)).catch_unwind().await;
        (caught.unwrap_or_else(|panic| Err(CommandError::panicked(&*panic))), context.timing())
    }
}

async fn carry_out(context: &mut RequestContext<'_>, request: Request) -> CommandResult<Vec<u8>> {
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

/// Makes the administrator's account and the catalogue where they are absent; gives the password it had to invent.
fn fill(connection: &mut Connection, config: &Config) -> Result<Option<Secret>, ServerError> {
    let failed = |failure| could_not_fill(config, failure);
    check_admin(&config.admin)?;
    let transaction = connection.transaction().map_err(|error| failed(error.into()))?;
    let existing = users::find(&transaction, &config.admin.username).map_err(failed)?;
    if existing.as_ref().is_some_and(|user| !user.admin) {
        return Err(ServerError::AdminIsShopper { username: config.admin.username.clone() });
    }
    let invented = match existing {
        Some(_) => {
            tracing::debug!(
                username = config.admin.username,
                "the administrator's account is there and is left as it is"
            );
            None
        }
        None => make_admin(&transaction, config)?,
    };
    if let Catalogue::Demo { stock } = config.catalogue {
        catalogue::fill_if_empty(&transaction, stock).map_err(failed)?;
    }
    transaction.commit().map_err(|error| failed(error.into()))?;
    Ok(invented)
}

fn make_admin(connection: &Connection, config: &Config) -> Result<Option<Secret>, ServerError> {
    let failed = |failure| could_not_fill(config, failure);
    let (password, invented) = match &config.admin.password {
        Some(password) => (password.clone(), None),
        None => {
            let random = token::random_hex::<16>()
                .map_err(|error| ServerError::System { step: "random bytes", reason: error.to_string() })?;
            (Secret::new(random.clone()), Some(Secret::new(random)))
        }
    };
    let hash = passwords::hash(&config.passwords.cost, password.reveal()).map_err(failed)?;
    users::insert(connection, &config.admin.username, &hash, Role::Admin, now_ms()).map_err(failed)?;
    Ok(invented)
}

/// Whether the account could be registered, were it a virtual user's.
fn check_admin(admin: &Admin) -> Result<(), ServerError> {
    let name = &admin.username;
    let allowed = name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if !allowed || !limits::USERNAME_CHARS.contains(&name.len()) {
        return Err(ServerError::AdminUsername { username: name.clone() });
    }
    match admin.password.as_ref().map(|password| password.reveal().len()) {
        Some(bytes) if !limits::PASSWORD_BYTES.contains(&bytes) => Err(ServerError::AdminPassword { bytes }),
        _ => Ok(()),
    }
}

fn could_not_fill(config: &Config, failure: CommandError) -> ServerError {
    let reason = match failure {
        CommandError::Refused(error) => error.message,
        CommandError::Locked => {
            format!("another program has locked '{}'; stop it and try again", config.database.display())
        }
        CommandError::Broken(reason) => reason,
    };
    ServerError::System { step: "first contents of the database", reason }
}
