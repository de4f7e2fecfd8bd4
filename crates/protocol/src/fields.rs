//! Typed access to the fields of a JSON object. Every error names the field, the expected and the received value.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::error::{ErrorBody, ErrorCode};

/// Maximum length of a client's text in an error message, characters: the response must fit into a frame.
const MAX_QUOTED_CHARS: usize = 40;

/// Fields of one object. Each is taken once; fields that remain at the end are unknown.
#[derive(Debug)]
pub(crate) struct Fields {
    /// Path of the object in the request: empty, or `items[2].`.
    prefix: String,
    /// Fields not yet taken.
    map: Map<String, Value>,
}

impl Fields {
    /// Returns the fields of the request's top-level object.
    pub(crate) fn new(map: Map<String, Value>) -> Self {
        Self { prefix: String::new(), map }
    }

    fn error(&self, name: &str, expected: &str, got: Option<&Value>) -> ErrorBody {
        let path = format!("{}{name}", self.prefix);
        let got = got.map_or_else(|| "nothing".to_owned(), describe);
        let message = format!("field '{path}': expected {expected}, got {got}");
        ErrorBody::in_field(ErrorCode::InvalidField, path, message)
    }

    /// Takes a field; JSON `null` counts as absent.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name).filter(|value| !value.is_null())
    }

    /// Takes an integer within `range`, as a type that holds all of `range`.
    ///
    /// # Errors
    /// The field is absent, not an integer, or out of range.
    pub(crate) fn integer<T: TryFrom<i64>>(&mut self, name: &str, range: RangeInclusive<i64>) -> Result<T, ErrorBody> {
        let value = self.take(name);
        let number = value.as_ref().and_then(Value::as_i64).filter(|number| range.contains(number));
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
            let expected = format!("an integer from {} to {}", range.start(), range.end());
            self.error(name, &expected, value.as_ref())
        })
    }

    /// Takes an integer within `range`; returns `default` if it is absent.
    ///
    /// # Errors
    /// The field is present and invalid.
    pub(crate) fn integer_or<T: TryFrom<i64>>(
        &mut self,
        name: &str,
        range: RangeInclusive<i64>,
        default: T,
    ) -> Result<T, ErrorBody> {
        if self.is_absent(name) { Ok(default) } else { self.integer(name, range) }
    }

    fn is_absent(&self, name: &str) -> bool {
        self.map.get(name).is_none_or(Value::is_null)
    }

    /// Takes a text of `chars` characters without control characters.
    ///
    /// # Errors
    /// The field is absent, not a text, too short or too long, or contains control characters.
    pub(crate) fn text(&mut self, name: &str, chars: RangeInclusive<usize>) -> Result<String, ErrorBody> {
        let expected = || format!("a text of {} to {} characters", chars.start(), chars.end());
        match self.take(name) {
            Some(Value::String(text))
                if chars.contains(&text.chars().count()) && !text.chars().any(char::is_control) =>
            {
                Ok(text)
            }
            Some(Value::String(text)) => {
                let got = if text.chars().any(char::is_control) {
                    "control characters".to_owned()
                } else {
                    format!("{} characters", text.chars().count())
                };
                let path = format!("{}{name}", self.prefix);
                let message = format!("field '{path}': expected {}, got {got}", expected());
                Err(ErrorBody::in_field(ErrorCode::InvalidField, path, message))
            }
            other => Err(self.error(name, &expected(), other.as_ref())),
        }
    }

    /// Takes a text as [`Fields::text`] does; returns `None` if it is absent.
    ///
    /// # Errors
    /// The field is present and invalid.
    pub(crate) fn optional_text(
        &mut self,
        name: &str,
        chars: RangeInclusive<usize>,
    ) -> Result<Option<String>, ErrorBody> {
        if self.is_absent(name) { Ok(None) } else { self.text(name, chars).map(Some) }
    }

    /// Takes a password or token: `bytes` bytes of UTF-8. Error messages never quote it.
    ///
    /// # Errors
    /// The field is absent, not a text, too short or too long.
    pub(crate) fn secret(&mut self, name: &str, bytes: RangeInclusive<usize>) -> Result<String, ErrorBody> {
        match self.take(name) {
            Some(Value::String(text)) if bytes.contains(&text.len()) => Ok(text),
            other => {
                let path = format!("{}{name}", self.prefix);
                let got = match &other {
                    Some(Value::String(text)) => format!("{} bytes", text.len()),
                    Some(_) => "another type".to_owned(),
                    None => "nothing".to_owned(),
                };
                let message =
                    format!("field '{path}': expected a text of {} to {} bytes, got {got}", bytes.start(), bytes.end());
                Err(ErrorBody::in_field(ErrorCode::InvalidField, path, message))
            }
        }
    }

    /// Takes a list of `count` objects.
    ///
    /// # Errors
    /// The field is absent, not a list, too short or too long, or contains other values than objects.
    pub(crate) fn objects(&mut self, name: &str, count: RangeInclusive<usize>) -> Result<Vec<Fields>, ErrorBody> {
        let expected = format!("a list of {} to {} objects", count.start(), count.end());
        let values = match self.take(name) {
            Some(Value::Array(values)) if count.contains(&values.len()) => values,
            other => return Err(self.error(name, &expected, other.as_ref())),
        };
        let mut objects = Vec::with_capacity(values.len());
        for (index, value) in values.into_iter().enumerate() {
            let Value::Object(map) = value else {
                return Err(self.error(&format!("{name}[{index}]"), "an object", Some(&value)));
            };
            objects.push(Fields { prefix: format!("{}{name}[{index}].", self.prefix), map });
        }
        Ok(objects)
    }

    /// Checks that all fields were taken.
    ///
    /// # Errors
    /// A field remains: the command does not have it.
    pub(crate) fn finish(self) -> Result<(), ErrorBody> {
        let Some(name) = self.map.keys().next() else { return Ok(()) };
        let path = format!("{}{}", self.prefix, shorten(name));
        let message = format!("unknown field '{path}': this command does not have it");
        Err(ErrorBody::in_field(ErrorCode::InvalidField, path, message))
    }
}

/// Returns the start of a client's text, for an error message.
pub(crate) fn shorten(text: &str) -> String {
    text.chars().take(MAX_QUOTED_CHARS).collect()
}

/// Describes an invalid value briefly.
fn describe(value: &Value) -> String {
    match value {
        Value::Array(values) => format!("a list of {} values", values.len()),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) => format!("the text '{}'", shorten(text)),
        scalar => scalar.to_string(),
    }
}
