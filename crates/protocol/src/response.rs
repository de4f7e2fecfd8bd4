//! Responses of the shop: a result or an error, with the server's own timing of the request.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::ErrorBody;

/// Response to one request. On the wire either `{"ok":true,"server_us":…,…,"result":{…}}` or
/// `{"ok":false,"server_us":…,…,"error":{"code":…,"message":…,"field":…}}`, with the fields of [`ServerTiming`] for
/// `…`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Response {
    /// Whether the request succeeded.
    pub ok: bool,
    /// See [`ServerTiming::server_us`].
    pub server_us: u64,
    /// See [`ServerTiming::queue_us`]; absent from older servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_us: Option<u64>,
    /// See [`ServerTiming::database_us`]; absent from older servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database_us: Option<u64>,
    /// See [`ServerTiming::exchange_id`]; absent from older servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange_id: Option<u64>,
    /// Result of the command; present exactly if `ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Reason of the failure; present exactly if not `ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

/// The server's own timing of a request. `queue_us + database_us` never exceeds `server_us`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerTiming {
    /// From the complete request in memory to the complete response, microseconds.
    pub server_us: u64,
    /// Part of `server_us` spent waiting for a database or password thread, including its work for other requests,
    /// microseconds.
    pub queue_us: u64,
    /// Part of `server_us` spent in the database for this request: its statements and, if it writes, the start and
    /// commit of the transaction, microseconds.
    pub database_us: u64,
    /// Number of the response, unique until the server restarts.
    pub exchange_id: u64,
}

impl Response {
    /// Returns the response of a successful request.
    #[must_use]
    pub fn success(result: Value, timing: ServerTiming) -> Self {
        Self::new(Some(result), None, timing)
    }

    /// Returns the response of a failed request.
    #[must_use]
    pub fn failure(error: ErrorBody, timing: ServerTiming) -> Self {
        Self::new(None, Some(error), timing)
    }

    fn new(result: Option<Value>, error: Option<ErrorBody>, timing: ServerTiming) -> Self {
        let ServerTiming { server_us, queue_us, database_us, exchange_id } = timing;
        let (queue_us, database_us, exchange_id) = (Some(queue_us), Some(database_us), Some(exchange_id));
        Self { ok: error.is_none(), server_us, queue_us, database_us, exchange_id, result, error }
    }

    /// Decodes the result.
    ///
    /// # Errors
    /// The request failed, or the response violates the protocol.
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

/// Reason why a response has no usable result.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The request failed.
    #[error("{0}")]
    Refused(ErrorBody),
    /// The result is not of the command's type.
    #[error("unexpected result: {0}")]
    Unexpected(serde_json::Error),
    /// `ok` contradicts the presence of result and error.
    #[error("inconsistent response: ok is {ok}, result present: {result}, error present: {error}")]
    Inconsistent {
        /// The field `ok`.
        ok: bool,
        /// Whether the result is present.
        result: bool,
        /// Whether the error is present.
        error: bool,
    },
}

/// Result of `hello`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Greeting {
    /// [`crate::PROTOCOL_VERSION`] of the server.
    pub protocol: u32,
    /// Version of the program.
    pub server: String,
    /// Purpose of the port: `accounts` or `shop`.
    pub port: String,
}

/// Result of `register`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Registered {
    /// Id of the new user.
    pub user_id: i64,
}

/// Result of `login`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LoggedIn {
    /// 256 random bits in hexadecimal, valid on both ports.
    pub token: String,
    /// Remaining validity of the token, seconds.
    pub expires_in_seconds: u64,
    /// Whether the user may add products.
    pub admin: bool,
}

/// Result of `logout`, `change_password` and `submit_rating`: an empty object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Done {}

/// Result of `view_categories`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Categories {
    /// Categories of the page, ordered by name.
    pub categories: Vec<Category>,
    /// Number of the page, from 1.
    pub page: u32,
    /// Maximum number of rows.
    pub page_size: u32,
    /// Number of categories on all pages.
    pub total: u64,
}

/// Category of products.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Category {
    /// Name.
    pub name: String,
    /// Number of different products.
    pub products: u64,
}

/// Result of `view_products`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Products {
    /// Products of the page, ordered by id.
    pub products: Vec<Product>,
    /// Number of the page, from 1.
    pub page: u32,
    /// Maximum number of rows.
    pub page_size: u32,
    /// Number of products on all pages.
    pub total: u64,
}

/// Product in a listing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Product {
    /// Id.
    pub product_id: i64,
    /// Name.
    pub name: String,
    /// Name of the category.
    pub category: String,
    /// Description.
    pub description: String,
    /// Price per unit, cents.
    pub price_cents: i64,
    /// Units in stock.
    pub stock: i64,
    /// Mean of the ratings, stars; `None` without ratings.
    pub rating_average: Option<f64>,
    /// Number of ratings.
    pub rating_count: u64,
}

/// Result of `view_product`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProductFound {
    /// The product.
    pub product: Product,
}

/// Result of `add_product`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProductAdded {
    /// Id of the new product.
    pub product_id: i64,
}

/// Result of `place_order`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OrderPlaced {
    /// Id of the order.
    pub order_id: i64,
    /// Total price, cents.
    pub total_cents: i64,
    /// Whether this repeats the response to an earlier request with the same idempotency key.
    pub replayed: bool,
}

/// Result of `view_order_history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OrderHistory {
    /// Orders of the page, newest first.
    pub orders: Vec<Order>,
    /// Number of the page, from 1.
    pub page: u32,
    /// Maximum number of rows.
    pub page_size: u32,
    /// Number of orders on all pages.
    pub total: u64,
}

/// Result of `view_order`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OrderFound {
    /// The order.
    pub order: Order,
}

/// Order of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Order {
    /// Id.
    pub order_id: i64,
    /// Time of the order, milliseconds since 1970-01-01 UTC.
    pub placed_at_ms: i64,
    /// Total price, cents.
    pub total_cents: i64,
    /// Items, ordered by product id.
    pub items: Vec<OrderedItem>,
}

/// Item of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OrderedItem {
    /// Id of the product.
    pub product_id: i64,
    /// Name of the product.
    pub name: String,
    /// Units.
    pub quantity: i64,
    /// Price per unit at the time of the order, cents.
    pub price_cents: i64,
    /// The buyer's rating, stars.
    pub stars: Option<u8>,
}
