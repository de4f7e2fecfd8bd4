//! Error of a failed request.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

/// Reason why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[error("{message}")]
pub struct ErrorBody {
    /// Kind of error, for programs.
    pub code: ErrorCode,
    /// Description for people: what was expected and received.
    pub message: String,
    /// Path of the invalid field (`items[2].quantity`), if a single one is the cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// Kind of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, IntoStaticStr, VariantArray)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ErrorCode {
    /// The payload is not a JSON object, or is nested too deeply or has too many values.
    MalformedRequest,
    /// The frame is larger than the port allows, or the bytes belong to another protocol; the server closes the connection after this response.
    FrameTooLarge,
    /// Neither port has this command.
    UnknownCommand,
    /// The other port has this command.
    WrongPort,
    /// A field is missing, unknown, of the wrong type or out of bounds.
    InvalidField,
    /// The token is unknown, expired or invalidated.
    InvalidToken,
    /// The user is not permitted to do this.
    Forbidden,
    /// User name and password do not match, or the user does not exist; the error is the same.
    WrongCredentials,
    /// An account with this name exists.
    UsernameTaken,
    /// No such category, product or order.
    NotFound,
    /// Too few units in stock; nothing was ordered.
    OutOfStock,
    /// This item of this order was rated before.
    AlreadyRated,
    /// The idempotency key was used before with other items.
    IdempotencyConflict,
    /// Too many password requests, failed logins or connections, no memory for a large request, or the database cannot be
    /// written at present; nothing was done, try again later.
    Overloaded,
    /// The request was not completed in time; the server closes the connection after this response.
    RequestTimeout,
    /// The server is stopping; the request was not executed.
    ShuttingDown,
    /// The server failed; its log contains the reason.
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

/// Maximum length of an error's message, characters. Messages can contain texts of clients and of the database.
const MAX_MESSAGE_CHARS: usize = 600;
/// Maximum length of an error's field, characters.
const MAX_FIELD_CHARS: usize = 80;

impl ErrorBody {
    /// Returns an error without a single field as its cause. A message of more than 600 characters is cut.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: shorten(Cow::Owned(message.into()), MAX_MESSAGE_CHARS).into_owned(), field: None }
    }

    /// Returns an error caused by the field at `path`, of which more than 80 characters are cut.
    pub fn in_field(code: ErrorCode, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: Some(shorten(Cow::Owned(path.into()), MAX_FIELD_CHARS).into_owned()), ..Self::new(code, message) }
    }
}

/// Returns the first `chars` characters of `text`; `…` marks that it was cut.
pub(crate) fn shorten(text: Cow<'_, str>, chars: usize) -> Cow<'_, str> {
    match text.char_indices().nth(chars) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_and_fields_are_cut() {
        let error = ErrorBody::in_field(ErrorCode::InvalidField, "ä".repeat(1000), "\u{7f}".repeat(1 << 20));
        assert_eq!(error.message.chars().count(), MAX_MESSAGE_CHARS + 1);
        assert_eq!(error.field.unwrap(), format!("{}…", "ä".repeat(MAX_FIELD_CHARS)));
        assert_eq!(ErrorBody::new(ErrorCode::Internal, "short").message, "short");
    }

    #[test]
    fn the_name_of_a_code_is_its_json() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.name());
        }
    }
}
