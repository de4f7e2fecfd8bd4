//! What the shop answers: a result or an error, and what the server says of its own handling of the request.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use strum::{IntoStaticStr, VariantArray};

/// One response. On the wire either `{"ok":true,"server_us":…,…,"result":{…}}` or
/// `{"ok":false,"server_us":…,…,"error":{"code":…,"message":…,"field":…}}`, with the fields of [`ServerTiming`] for
/// `…`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// Whether the shop did what was asked.
    pub ok: bool,
    /// The server's own handling time: request complete in memory to response ready to be written, microseconds.
    pub server_us: u64,
    /// See [`ServerTiming::queue_us`]; absent from servers that do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_us: Option<u64>,
    /// See [`ServerTiming::database_us`]; absent from servers that do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database_us: Option<u64>,
    /// See [`ServerTiming::exchange_id`]; absent from servers that do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange_id: Option<u64>,
    /// What came of it; present exactly when `ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Why not; present exactly when not `ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

/// What the server says of its own handling of a request. `queue_us + database_us <= server_us`, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerTiming {
    /// Request complete in memory to response ready to be written, microseconds.
    pub server_us: u64,
    /// Of this, waiting for a thread of the database or of the password group, and for what it did for others,
    /// microseconds.
    pub queue_us: u64,
    /// Of this, in the database for this request: its statements and, for what writes, the transaction's start and
    /// commit, microseconds.
    pub database_us: u64,
    /// The response's number, unique in the server's lifetime.
    pub exchange_id: u64,
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ErrorBody {
    /// For programs.
    pub code: ErrorCode,
    /// For people: what was expected and what came.
    pub message: String,
    /// The field of the request that is to blame, as a path (`items[2].quantity`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// The kinds of error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, IntoStaticStr, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ErrorCode {
    /// The frame is not a JSON object.
    MalformedRequest,
    /// The frame is larger than the protocol allows; the connection is closed after this answer.
    FrameTooLarge,
    /// No such command on either port.
    UnknownCommand,
    /// The command belongs to the other port.
    WrongPort,
    /// A field is missing, unknown, of the wrong type or out of its range.
    InvalidField,
    /// The token is unknown, expired or was logged out.
    InvalidToken,
    /// The user may not do this.
    Forbidden,
    /// User name and password do not belong together (or there is no such user: the two are not told apart).
    WrongCredentials,
    /// The user name is taken.
    UsernameTaken,
    /// There is no such thing.
    NotFound,
    /// A product of the order has too little stock left; nothing was ordered.
    OutOfStock,
    /// This item of this order was rated before.
    AlreadyRated,
    /// The idempotency key was used before for other items.
    IdempotencyConflict,
    /// The server has too much to do or too many connections; try again later.
    Overloaded,
    /// Nothing complete arrived in time; the connection is closed after this answer.
    RequestTimeout,
    /// The server is stopping.
    ShuttingDown,
    /// The server failed; its log says why.
    Internal,
}

impl ErrorCode {
    /// All codes, in the order of the protocol's documentation.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// Returns the code on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl ErrorBody {
    /// An error that no single field is to blame for.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), field: None }
    }

    /// An error of the field at `path`.
    pub fn in_field(code: ErrorCode, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), field: Some(path.into()) }
    }
}

impl Response {
    /// A success.
    #[must_use]
    pub fn success(result: Value, handling: ServerTiming) -> Self {
        Self::new(Some(result), None, handling)
    }

    /// A failure.
    #[must_use]
    pub fn failure(error: ErrorBody, handling: ServerTiming) -> Self {
        Self::new(None, Some(error), handling)
    }

    fn new(result: Option<Value>, error: Option<ErrorBody>, handling: ServerTiming) -> Self {
        let ServerTiming { server_us, queue_us, database_us, exchange_id } = handling;
        let (queue_us, database_us, exchange_id) = (Some(queue_us), Some(database_us), Some(exchange_id));
        Self { ok: error.is_none(), server_us, queue_us, database_us, exchange_id, result, error }
    }

    /// The result as its type.
    ///
    /// # Errors
    /// The shop's own [`ErrorBody`], or `MalformedRequest`-free text in [`DecodeError`] when the answer is not what the
    /// protocol allows.
    pub fn into_result<T: DeserializeOwned>(self) -> Result<T, DecodeError> {
        match (self.ok, self.result, self.error) {
            (true, Some(result), None) => serde_json::from_value(result).map_err(DecodeError::Unexpected),
            (false, None, Some(error)) => Err(DecodeError::Refused(error)),
            (ok, result, error) => {
                Err(DecodeError::Inconsistent { ok, result: result.is_some(), error: error.is_some() })
            }
        }
    }
}

/// Why a response holds no usable result.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The shop said no.
    #[error("{0}")]
    Refused(ErrorBody),
    /// The result is not of the type that the command gives.
    #[error("unexpected result: {0}")]
    Unexpected(serde_json::Error),
    /// `ok` does not agree with what else is there.
    #[error("inconsistent response: ok is {ok}, result present: {result}, error present: {error}")]
    Inconsistent {
        /// The flag.
        ok: bool,
        /// Whether there is a result.
        result: bool,
        /// Whether there is an error.
        error: bool,
    },
}

/// Result of `register`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// The new user's id.
    pub user_id: i64,
}

/// Result of `login`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedIn {
    /// 256 random bits in hexadecimal, valid on both ports.
    pub token: String,
    /// How long the token is valid, seconds from now.
    pub expires_in_seconds: u64,
    /// Whether the user may add products.
    pub admin: bool,
}

/// Result of `logout`, `change_password` and `submit_rating`: an empty object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {}

/// Result of `view_categories`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Categories {
    /// All categories that have products, by name.
    pub categories: Vec<Category>,
}

/// A category of products.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Category {
    /// Its name.
    pub name: String,
    /// How many different products are in it.
    pub products: u64,
}

/// Result of `view_products`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Products {
    /// The page's products, by id.
    pub products: Vec<Product>,
    /// Which page this is, from 1.
    pub page: u32,
    /// Rows on a full page.
    pub page_size: u32,
    /// Products on all pages together.
    pub total: u64,
}

/// A product as virtual users see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Product {
    /// Its id.
    pub product_id: i64,
    /// Its name.
    pub name: String,
    /// Its category's name.
    pub category: String,
    /// What it is.
    pub description: String,
    /// Price of one unit, cents.
    pub price_cents: i64,
    /// Pieces left.
    pub stock: i64,
    /// Mean of its ratings, stars; absent while it has no rating.
    pub rating_average: Option<f64>,
    /// How many ratings it has.
    pub rating_count: u64,
}

/// Result of `add_product`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductAdded {
    /// The new product's id.
    pub product_id: i64,
}

/// Result of `place_order`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderPlaced {
    /// The order's id.
    pub order_id: i64,
    /// Sum over its items, cents.
    pub total_cents: i64,
    /// Whether this answer repeats that of an earlier request with the same idempotency key.
    pub replayed: bool,
}

/// Result of `view_order_history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderHistory {
    /// The page's orders, newest first.
    pub orders: Vec<Order>,
    /// Which page this is, from 1.
    pub page: u32,
    /// Rows on a full page.
    pub page_size: u32,
    /// Orders on all pages together.
    pub total: u64,
}

/// An order of the past.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its id.
    pub order_id: i64,
    /// When it was placed, milliseconds since 1970-01-01 UTC.
    pub placed_at_ms: i64,
    /// Sum over its items, cents.
    pub total_cents: i64,
    /// What was ordered.
    pub items: Vec<OrderedItem>,
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderedItem {
    /// Which product.
    pub product_id: i64,
    /// The product's name.
    pub name: String,
    /// How many units.
    pub quantity: i64,
    /// Price of one unit when it was ordered, cents.
    pub price_cents: i64,
    /// The stars the buyer gave it, if rated.
    pub stars: Option<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_code_is_its_json() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.name());
        }
    }
}
