//! What a virtual user can ask for, on which port, and how a request is read.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::fields::Fields;
use crate::limits;
use crate::response::{ErrorBody, ErrorCode};

/// One of the shop's two TCP ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Port {
    /// Who you are: 5000.
    Accounts,
    /// What you buy: 5001.
    Shop,
}

impl Port {
    /// The port number unless it was configured otherwise.
    #[must_use]
    pub fn default_number(self) -> u16 {
        match self {
            Port::Accounts => limits::ACCOUNTS_PORT,
            Port::Shop => limits::SHOP_PORT,
        }
    }

    /// The name in messages and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Port::Accounts => "accounts",
            Port::Shop => "shop",
        }
    }
}

/// A request. Serialises to the JSON that travels: `{"command":"login","username":…}`.
///
/// No `Debug`: requests carry passwords and tokens, which must not reach a log by accident.
#[derive(Clone, PartialEq, Serialize)]
#[serde(tag = "command", rename_all = "snake_case")]
#[allow(missing_docs, reason = "the fields are described in docs/protocol.md, their bounds in limits.rs")]
pub enum Request {
    /// Makes an account.
    Register { username: String, password: String },
    /// Gives a token.
    Login { username: String, password: String },
    /// Ends a token.
    Logout { token: String },
    /// Changes the password and ends all other tokens of the user.
    ChangePassword { token: String, current_password: String, new_password: String },
    /// Lists the categories.
    ViewCategories {},
    /// Lists a page of products.
    ViewProducts {
        #[serde(skip_serializing_if = "Option::is_none")]
        category: Option<String>,
        page: u32,
        page_size: u32,
    },
    /// Adds a product; administrators only.
    AddProduct { token: String, name: String, category: String, description: String, price_cents: i64, stock: i64 },
    /// Orders all items or none.
    PlaceOrder {
        token: String,
        items: Vec<OrderItem>,
        #[serde(skip_serializing_if = "Option::is_none")]
        idempotency_key: Option<String>,
    },
    /// Rates one product of an order of one's own, once.
    SubmitRating { token: String, order_id: i64, product_id: i64, stars: u8 },
    /// Lists one's own orders, newest first.
    ViewOrderHistory { token: String, page: u32, page_size: u32 },
}

/// So many units of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct OrderItem {
    /// Which product.
    pub product_id: i64,
    /// How many units.
    pub quantity: i64,
}

/// Every command with its port.
pub const COMMANDS: [(&str, Port); 10] = [
    ("register", Port::Accounts),
    ("login", Port::Accounts),
    ("logout", Port::Accounts),
    ("change_password", Port::Accounts),
    ("view_categories", Port::Shop),
    ("view_products", Port::Shop),
    ("add_product", Port::Shop),
    ("place_order", Port::Shop),
    ("submit_rating", Port::Shop),
    ("view_order_history", Port::Shop),
];

impl Request {
    /// The command's name, as it travels.
    #[must_use]
    pub fn command(&self) -> &'static str {
        match self {
            Request::Register { .. } => "register",
            Request::Login { .. } => "login",
            Request::Logout { .. } => "logout",
            Request::ChangePassword { .. } => "change_password",
            Request::ViewCategories {} => "view_categories",
            Request::ViewProducts { .. } => "view_products",
            Request::AddProduct { .. } => "add_product",
            Request::PlaceOrder { .. } => "place_order",
            Request::SubmitRating { .. } => "submit_rating",
            Request::ViewOrderHistory { .. } => "view_order_history",
        }
    }

    /// The port that takes this request.
    #[must_use]
    pub fn port(&self) -> Port {
        match self {
            Request::Register { .. }
            | Request::Login { .. }
            | Request::Logout { .. }
            | Request::ChangePassword { .. } => Port::Accounts,
            _ => Port::Shop,
        }
    }

    /// Reads the payload of a frame that arrived on `port`.
    ///
    /// # Errors
    /// The error to answer with; it names the field that is to blame.
    pub fn decode(payload: &[u8], port: Port) -> Result<Self, ErrorBody> {
        let mut map: Map<String, Value> = serde_json::from_slice(payload)
            .map_err(|error| ErrorBody::new(ErrorCode::MalformedRequest, format!("expected a JSON object: {error}")))?;
        let command = match map.remove("command") {
            Some(Value::String(command)) => command,
            _ => {
                return Err(ErrorBody::in_field(
                    ErrorCode::InvalidField,
                    "command",
                    "field 'command': expected a command's name as a text",
                ));
            }
        };
        check_port(&command, port)?;
        let mut fields = Fields::new(map);
        let request = read_fields(&command, &mut fields)?;
        fields.finish()?;
        Ok(request)
    }
}

fn check_port(command: &str, port: Port) -> Result<(), ErrorBody> {
    match COMMANDS.iter().find(|(name, _)| *name == command) {
        Some((_, home)) if *home == port => Ok(()),
        Some((_, home)) => Err(ErrorBody::in_field(
            ErrorCode::WrongPort,
            "command",
            format!("command '{command}' belongs to the {} port, this is the {} port", home.name(), port.name()),
        )),
        None => {
            let known: Vec<&str> = COMMANDS.iter().filter(|(_, home)| *home == port).map(|(name, _)| *name).collect();
            let shown: String = command.chars().take(40).collect();
            Err(ErrorBody::in_field(
                ErrorCode::UnknownCommand,
                "command",
                format!("unknown command '{shown}': the {} port has {}", port.name(), known.join(", ")),
            ))
        }
    }
}

fn read_fields(command: &str, fields: &mut Fields) -> Result<Request, ErrorBody> {
    Ok(match command {
        "register" => Request::Register {
            username: username(fields)?,
            password: fields.secret("password", limits::PASSWORD_BYTES)?,
        },
        "login" => Request::Login { username: username(fields)?, password: old_password(fields, "password")? },
        "logout" => Request::Logout { token: token(fields)? },
        "change_password" => Request::ChangePassword {
            token: token(fields)?,
            current_password: old_password(fields, "current_password")?,
            new_password: fields.secret("new_password", limits::PASSWORD_BYTES)?,
        },
        "view_categories" => Request::ViewCategories {},
        "view_products" => Request::ViewProducts {
            category: fields.optional_text("category", limits::NAME_CHARS)?,
            page: page(fields)?,
            page_size: page_size(fields)?,
        },
        "add_product" => Request::AddProduct {
            token: token(fields)?,
            name: fields.text("name", limits::NAME_CHARS)?,
            category: fields.text("category", limits::NAME_CHARS)?,
            description: fields.optional_text("description", limits::DESCRIPTION_CHARS)?.unwrap_or_default(),
            price_cents: fields.integer("price_cents", limits::PRICE_CENTS)?,
            stock: fields.integer("stock", limits::STOCK)?,
        },
        "place_order" => Request::PlaceOrder {
            token: token(fields)?,
            items: order_items(fields)?,
            idempotency_key: fields.optional_text("idempotency_key", limits::IDEMPOTENCY_KEY_CHARS)?,
        },
        "submit_rating" => Request::SubmitRating {
            token: token(fields)?,
            order_id: fields.integer("order_id", limits::ID)?,
            product_id: fields.integer("product_id", limits::ID)?,
            stars: small(fields.integer("stars", limits::STARS)?),
        },
        "view_order_history" => {
            Request::ViewOrderHistory { token: token(fields)?, page: page(fields)?, page_size: page_size(fields)? }
        }
        other => {
            return Err(ErrorBody::new(ErrorCode::Internal, format!("command '{other}' is listed but cannot be read")));
        }
    })
}

/// Narrows a number that a range in `limits` has already bounded.
fn small<T: TryFrom<i64> + Default>(bounded: i64) -> T {
    T::try_from(bounded).unwrap_or_default()
}

fn username(fields: &mut Fields) -> Result<String, ErrorBody> {
    let name = fields.text("username", limits::USERNAME_CHARS)?;
    if name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)) {
        return Ok(name);
    }
    let message = format!("field 'username': expected only letters A-Z a-z, digits and _ . -, got '{name}'");
    Err(ErrorBody::in_field(ErrorCode::InvalidField, "username", message))
}

/// A password that is only compared: any length up to the maximum, so that nothing is given away.
fn old_password(fields: &mut Fields, name: &str) -> Result<String, ErrorBody> {
    fields.secret(name, 0..=*limits::PASSWORD_BYTES.end())
}

fn token(fields: &mut Fields) -> Result<String, ErrorBody> {
    fields.secret("token", limits::TOKEN_CHARS)
}

fn page(fields: &mut Fields) -> Result<u32, ErrorBody> {
    fields.integer_or("page", limits::PAGE, 1).map(small)
}

fn page_size(fields: &mut Fields) -> Result<u32, ErrorBody> {
    fields.integer_or("page_size", limits::PAGE_SIZE, limits::DEFAULT_PAGE_SIZE).map(small)
}

/// The items of an order; a product may stand in it once only.
fn order_items(fields: &mut Fields) -> Result<Vec<OrderItem>, ErrorBody> {
    let mut items: Vec<OrderItem> = Vec::new();
    for (index, mut item) in fields.objects("items", limits::ORDER_ITEMS)?.into_iter().enumerate() {
        let product_id = item.integer("product_id", limits::ID)?;
        let quantity = item.integer("quantity", limits::QUANTITY)?;
        item.finish()?;
        if items.iter().any(|earlier| earlier.product_id == product_id) {
            let path = format!("items[{index}].product_id");
            let message =
                format!("field '{path}': product {product_id} is in the order already, add up its quantities");
            return Err(ErrorBody::in_field(ErrorCode::InvalidField, path, message));
        }
        items.push(OrderItem { product_id, quantity });
    }
    Ok(items)
}

#[cfg(test)]
mod tests;
