//! Requests of clients: which exist, on which port, and how they are decoded.

use serde::Serialize;
use strum::{EnumDiscriminants, EnumString, IntoStaticStr, VariantArray};

use crate::error::{ErrorBody, ErrorCode};
use crate::fields::{Fields, ReadFields, describe, quoted};
use crate::limits;
use crate::value;
use crate::value::Value;

/// TCP port of the shop, by purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Port {
    /// User accounts: 5000.
    Accounts,
    /// Products and orders: 5001.
    Shop,
}

impl Port {
    /// Returns the default port number.
    #[must_use]
    pub fn default_number(self) -> u16 {
        match self {
            Port::Accounts => limits::ACCOUNTS_PORT,
            Port::Shop => limits::SHOP_PORT,
        }
    }

    /// Returns the name in messages and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Port::Accounts => "accounts",
            Port::Shop => "shop",
        }
    }

    /// Returns the maximum payload of a request, bytes. Every valid request fits, also with each character escaped.
    #[must_use]
    pub fn max_request_bytes(self) -> usize {
        match self {
            Port::Accounts => limits::ACCOUNTS_REQUEST_BYTES,
            Port::Shop => limits::SHOP_REQUEST_BYTES,
        }
    }
}

/// Request of a client. Serialises to the JSON on the wire: `{"command":"login","username":…}`.
///
/// [`Command`] is derived from the variants; for a new one the compiler requires its port and its decoding.
///
/// No `Debug`: requests contain passwords and tokens, which must not reach a log by accident.
#[derive(Clone, PartialEq, Serialize, EnumDiscriminants)]
#[serde(tag = "command", rename_all = "snake_case")]
#[strum_discriminants(name(Command))]
#[strum_discriminants(derive(EnumString, IntoStaticStr, VariantArray))]
#[strum_discriminants(strum(serialize_all = "snake_case"))]
#[strum_discriminants(doc = "Name of a request, as in its field `command`.")]
#[strum_discriminants(allow(missing_docs, reason = "the variants are those of Request"))]
#[allow(missing_docs, reason = "the fields are described in docs/protocol.md, their bounds in limits.rs")]
pub enum Request {
    /// Returns the version of protocol and server, without the database; on both ports.
    Hello {},
    /// Creates an account.
    Register { username: String, password: String },
    /// Returns a token.
    Login { username: String, password: String },
    /// Invalidates a token.
    Logout { token: String },
    /// Changes the password and invalidates all other tokens of the user.
    ChangePassword { token: String, current_password: String, new_password: String },
    /// Lists a page of categories.
    ViewCategories { page: u32, page_size: u32 },
    /// Lists a page of products.
    ViewProducts {
        #[serde(skip_serializing_if = "Option::is_none")]
        category: Option<String>,
        page: u32,
        page_size: u32,
    },
    /// Returns one product.
    ViewProduct { product_id: i64 },
    /// Adds a product; administrators only.
    AddProduct { token: String, name: String, category: String, description: String, price_cents: i64, stock: i64 },
    /// Orders all items or none.
    PlaceOrder {
        token: String,
        items: Vec<OrderItem>,
        #[serde(skip_serializing_if = "Option::is_none")]
        idempotency_key: Option<String>,
    },
    /// Rates a product of one of the user's orders, once.
    SubmitRating { token: String, order_id: i64, product_id: i64, stars: u8 },
    /// Lists a page of the user's orders, newest first.
    ViewOrderHistory { token: String, page: u32, page_size: u32 },
    /// Returns one of the user's orders.
    ViewOrder { token: String, order_id: i64 },
}

/// Quantity of one product in an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct OrderItem {
    /// Id of the product.
    pub product_id: i64,
    /// Units.
    pub quantity: i64,
}

impl Request {
    /// Returns the command's name on the wire.
    #[must_use]
    pub fn command(&self) -> &'static str {
        Command::from(self).name()
    }

    /// Returns the port for this request. Both ports accept `hello`: its own is the shop port.
    #[must_use]
    pub fn port(&self) -> Port {
        Command::from(self).port().unwrap_or(Port::Shop)
    }

    /// Returns the first page of categories, with as many as a page can have.
    #[must_use]
    pub fn all_categories() -> Self {
        Request::ViewCategories { page: 1, page_size: limits::DEFAULT_CATEGORIES_PAGE_SIZE }
    }

    /// Decodes the payload of a frame that arrived on `port`.
    ///
    /// # Errors
    /// The error to respond with; it names the invalid field.
    pub fn decode(payload: &[u8], port: Port) -> Result<Self, ErrorBody> {
        let malformed = |got: String| {
            ErrorBody::new(ErrorCode::MalformedRequest, format!("expected a JSON object as payload, got {got}"))
        };
        let value = value::decode(payload).map_err(|error| malformed(format!("an error: {error}")))?;
        let Value::Object(object) = value else { return Err(malformed(describe(&value))) };
        let mut fields = Fields::new(object);
        let Some(Value::Text(name)) = fields.take("command") else {
            let message = "field 'command': expected the name of a command, a text";
            return Err(ErrorBody::in_field(ErrorCode::InvalidField, "command", message));
        };
        let command = Command::parse(&name, port)?;
        let request = command.read(&mut fields)?;
        fields.finish()?;
        Ok(request)
    }
}

impl Command {
    /// All commands, in the order of the protocol's documentation.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// Returns the name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Returns the port that accepts the command; `None` if both do.
    #[must_use]
    pub fn port(self) -> Option<Port> {
        match self {
            Command::Hello => None,
            Command::Register | Command::Login | Command::Logout | Command::ChangePassword => Some(Port::Accounts),
            Command::ViewCategories
            | Command::ViewProducts
            | Command::ViewProduct
            | Command::AddProduct
            | Command::PlaceOrder
            | Command::SubmitRating
            | Command::ViewOrderHistory
            | Command::ViewOrder => Some(Port::Shop),
        }
    }

    fn is_on(self, port: Port) -> bool {
        self.port().is_none_or(|own| own == port)
    }

    /// Parses the name of a command of `port`.
    fn parse(name: &str, port: Port) -> Result<Self, ErrorBody> {
        let (code, message) = match name.parse::<Self>() {
            Ok(command) if command.is_on(port) => return Ok(command),
            Ok(_) => {
                let message = format!("command '{name}' belongs to the other port, this is the {} port", port.name());
                (ErrorCode::WrongPort, message)
            }
            Err(_) => {
                let on_port = Self::ALL.iter().filter(|command| command.is_on(port));
                let known: Vec<&str> = on_port.map(|command| command.name()).collect();
                let (shown, port, known) = (quoted(name), port.name(), known.join(", "));
                let message = format!("unknown command '{shown}': expected on the {port} port: {known}");
                (ErrorCode::UnknownCommand, message)
            }
        };
        Err(ErrorBody::in_field(code, "command", message))
    }

    /// Takes the command's fields.
    pub(crate) fn read(self, fields: &mut impl ReadFields) -> Result<Request, ErrorBody> {
        Ok(match self {
            Command::Hello => Request::Hello {},
            Command::Register => Request::Register {
                username: username(fields)?,
                password: fields.secret("password", limits::PASSWORD_BYTES)?,
            },
            Command::Login => {
                Request::Login { username: username(fields)?, password: old_password(fields, "password")? }
            }
            Command::Logout => Request::Logout { token: token(fields)? },
            Command::ChangePassword => Request::ChangePassword {
                token: token(fields)?,
                current_password: old_password(fields, "current_password")?,
                new_password: fields.secret("new_password", limits::PASSWORD_BYTES)?,
            },
            Command::ViewCategories => Request::ViewCategories {
                page: page(fields)?,
                page_size: page_size(fields, limits::DEFAULT_CATEGORIES_PAGE_SIZE)?,
            },
            Command::ViewProducts => Request::ViewProducts {
                category: fields.optional_text("category", limits::NAME_CHARS)?,
                page: page(fields)?,
                page_size: page_size(fields, limits::DEFAULT_PAGE_SIZE)?,
            },
            Command::ViewProduct => Request::ViewProduct { product_id: fields.integer("product_id", limits::ID)? },
            Command::AddProduct => Request::AddProduct {
                token: token(fields)?,
                name: fields.text("name", limits::NAME_CHARS)?,
                category: fields.text("category", limits::NAME_CHARS)?,
                description: fields.optional_text("description", limits::DESCRIPTION_CHARS)?.unwrap_or_default(),
                price_cents: fields.integer("price_cents", limits::PRICE_CENTS)?,
                stock: fields.integer("stock", limits::STOCK)?,
            },
            Command::PlaceOrder => Request::PlaceOrder {
                token: token(fields)?,
                items: order_items(fields)?,
                idempotency_key: fields.optional_text("idempotency_key", limits::IDEMPOTENCY_KEY_CHARS)?,
            },
            Command::SubmitRating => Request::SubmitRating {
                token: token(fields)?,
                order_id: fields.integer("order_id", limits::ID)?,
                product_id: fields.integer("product_id", limits::ID)?,
                stars: fields.integer("stars", limits::STARS)?,
            },
            Command::ViewOrderHistory => Request::ViewOrderHistory {
                token: token(fields)?,
                page: page(fields)?,
                page_size: page_size(fields, limits::DEFAULT_PAGE_SIZE)?,
            },
            Command::ViewOrder => {
                Request::ViewOrder { token: token(fields)?, order_id: fields.integer("order_id", limits::ID)? }
            }
        })
    }
}

fn username(fields: &mut impl ReadFields) -> Result<String, ErrorBody> {
    fields.username("username", limits::USERNAME_CHARS)
}

/// Reads a password that is only compared. Its minimum length is 0, so that the bounds reveal nothing about stored
/// passwords.
fn old_password(fields: &mut impl ReadFields, name: &str) -> Result<String, ErrorBody> {
    fields.secret(name, 0..=*limits::PASSWORD_BYTES.end())
}

fn token(fields: &mut impl ReadFields) -> Result<String, ErrorBody> {
    fields.secret("token", limits::TOKEN_CHARS)
}

fn page(fields: &mut impl ReadFields) -> Result<u32, ErrorBody> {
    fields.integer_or("page", limits::PAGE, 1)
}

fn page_size(fields: &mut impl ReadFields, default: u32) -> Result<u32, ErrorBody> {
    fields.integer_or("page_size", limits::PAGE_SIZE, default)
}

/// Reads the items of an order, each product at most once.
fn order_items(fields: &mut impl ReadFields) -> Result<Vec<OrderItem>, ErrorBody> {
    let mut items: Vec<OrderItem> = Vec::new();
    for (index, mut item) in fields.objects("items", limits::ORDER_ITEMS)?.into_iter().enumerate() {
        let product_id = item.integer("product_id", limits::ID)?;
        let quantity = item.integer("quantity", limits::QUANTITY)?;
        item.finish()?;
        if items.iter().any(|earlier| earlier.product_id == product_id) {
            let path = format!("items[{index}].product_id");
            let message =
                format!("field '{path}': product {product_id} occurs twice in the order: add up its quantities");
            return Err(ErrorBody::in_field(ErrorCode::InvalidField, path, message));
        }
        items.push(OrderItem { product_id, quantity });
    }
    Ok(items)
}

#[cfg(test)]
pub(crate) mod tests;
