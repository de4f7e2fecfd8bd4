//! Typed access to the fields of a JSON object. Every error names the field, the expected and the received value.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use crate::error::{ErrorBody, ErrorCode, shorten};
use crate::limits;
use crate::value::Value;

/// Maximum length of a client's text in an error message, characters.
const MAX_QUOTED_CHARS: usize = 40;

/// Fields of a request's object as commands declare them: [`Fields`] reads them, and the schema's test describes them.
pub(crate) trait ReadFields: Sized {
    /// Takes an integer within `range`, as a type that holds all of `range`.
    ///
    /// # Errors
    /// The field is absent, not an integer, or out of range.
    fn integer<T: TryFrom<i64>>(&mut self, name: &str, range: RangeInclusive<i64>) -> Result<T, ErrorBody>;

    /// Takes an integer within `range`; returns `default` if it is absent.
    ///
    /// # Errors
    /// The field is present and invalid.
    fn integer_or<T: TryFrom<i64>>(
        &mut self,
        name: &str,
        range: RangeInclusive<i64>,
        default: T,
    ) -> Result<T, ErrorBody>;

    /// Takes a text of `chars` characters without control characters.
    ///
    /// # Errors
    /// The field is absent, not a text, too short or too long, or contains control characters.
    fn text(&mut self, name: &str, chars: RangeInclusive<usize>) -> Result<String, ErrorBody>;

    /// Takes a text as [`ReadFields::text`] does; returns `None` if it is absent.
    ///
    /// # Errors
    /// The field is present and invalid.
    fn optional_text(&mut self, name: &str, chars: RangeInclusive<usize>) -> Result<Option<String>, ErrorBody>;

    /// Takes a text of `chars` characters of a user name; see [`limits::is_username_char`].
    ///
    /// # Errors
    /// The field is absent or invalid.
    fn username(&mut self, name: &str, chars: RangeInclusive<usize>) -> Result<String, ErrorBody>;

    /// Takes a password or token: `bytes` bytes of UTF-8. Error messages never quote it.
    ///
    /// # Errors
    /// The field is absent, not a text, too short or too long.
    fn secret(&mut self, name: &str, bytes: RangeInclusive<usize>) -> Result<String, ErrorBody>;

    /// Takes a list of `count` objects.
    ///
    /// # Errors
    /// The field is absent, not a list, too short or too long, or contains other values than objects.
    fn objects(&mut self, name: &str, count: RangeInclusive<usize>) -> Result<Vec<Self>, ErrorBody>;

    /// Checks that all fields were taken.
    ///
    /// # Errors
    /// A field remains: the command does not have it.
    fn finish(self) -> Result<(), ErrorBody>;
}

/// Fields of one object. Each is taken once; fields that remain at the end are unknown.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    /// Path of the object in the request: empty, or `items[2].`.
    prefix: String,
    /// Name and value of each field; `None` once taken.
    fields: Vec<(Cow<'a, str>, Option<Value<'a>>)>,
}

impl<'a> Fields<'a> {
    /// Returns the fields of the request's top-level object.
    pub(crate) fn new(object: Vec<(Cow<'a, str>, Value<'a>)>) -> Self {
        Self::with_prefix(String::new(), object)
    }

    fn with_prefix(prefix: String, object: Vec<(Cow<'a, str>, Value<'a>)>) -> Self {
        Self { prefix, fields: object.into_iter().map(|(name, value)| (name, Some(value))).collect() }
    }

    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn error(&self, name: &str, expected: &str, got: Option<&Value<'_>>) -> ErrorBody {
        let got = got.map_or_else(|| "nothing".to_owned(), describe);
        self.error_with(name, expected, &got)
    }

    fn error_with(&self, name: &str, expected: &str, got: &str) -> ErrorBody {
        let path = self.path(name);
        let message = format!("field '{path}': expected {expected}, got {got}");
        ErrorBody::in_field(ErrorCode::InvalidField, path, message)
    }

    /// Takes a field: the last one with this name. JSON `null` counts as absent.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value<'a>> {
        let named = self.fields.iter_mut().filter(|(field, _)| field == name);
        named.filter_map(|(_, value)| value.take()).last().filter(|value| !matches!(value, Value::Null))
    }

    fn to_integer<T: TryFrom<i64>>(
        &self,
        name: &str,
        range: RangeInclusive<i64>,
        value: Option<&Value<'_>>,
    ) -> Result<T, ErrorBody> {
        if let Some(Value::Integer(number)) = value
            && range.contains(number)
            && let Ok(number) = T::try_from(*number)
        {
            return Ok(number);
        }
        Err(self.error(name, &format!("an integer from {} to {}", range.start(), range.end()), value))
    }

    fn to_text(&self, name: &str, chars: RangeInclusive<usize>, value: Option<Value<'_>>) -> Result<String, ErrorBody> {
        let expected = || format!("a text of {} to {} characters", chars.start(), chars.end());
        match value {
            Some(Value::Text(text)) if text.chars().any(char::is_control) => {
                Err(self.error_with(name, &expected(), "control characters"))
            }
            Some(Value::Text(text)) if !chars.contains(&text.chars().count()) => {
                Err(self.error_with(name, &expected(), &format!("{} characters", text.chars().count())))
            }
            Some(Value::Text(text)) => Ok(text.into_owned()),
            other => Err(self.error(name, &expected(), other.as_ref())),
        }
    }
}

impl ReadFields for Fields<'_> {
    fn integer<T: TryFrom<i64>>(&mut self, name: &str, range: RangeInclusive<i64>) -> Result<T, ErrorBody> {
        let value = self.take(name);
        self.to_integer(name, range, value.as_ref())
    }

    fn integer_or<T: TryFrom<i64>>(
        &mut self,
        name: &str,
        range: RangeInclusive<i64>,
        default: T,
    ) -> Result<T, ErrorBody> {
        self.take(name).map_or(Ok(default), |value| self.to_integer(name, range, Some(&value)))
    }

    fn text(&mut self, name: &str, chars: RangeInclusive<usize>) -> Result<String, ErrorBody> {
        let value = self.take(name);
        self.to_text(name, chars, value)
    }

    fn optional_text(&mut self, name: &str, chars: RangeInclusive<usize>) -> Result<Option<String>, ErrorBody> {
        self.take(name).map(|value| self.to_text(name, chars, Some(value))).transpose()
    }

    fn username(&mut self, name: &str, chars: RangeInclusive<usize>) -> Result<String, ErrorBody> {
        let username = self.text(name, chars)?;
        if username.chars().all(limits::is_username_char) {
            return Ok(username);
        }
        let path = self.path(name);
        let message = format!("field '{path}': expected only letters A-Z a-z, digits and _ . -, got '{username}'");
        Err(ErrorBody::in_field(ErrorCode::InvalidField, path, message))
    }

    fn secret(&mut self, name: &str, bytes: RangeInclusive<usize>) -> Result<String, ErrorBody> {
        let got = match self.take(name) {
            Some(Value::Text(text)) if bytes.contains(&text.len()) => return Ok(text.into_owned()),
            Some(Value::Text(text)) => format!("{} bytes", text.len()),
            Some(_) => "another type".to_owned(),
            None => "nothing".to_owned(),
        };
        Err(self.error_with(name, &format!("a text of {} bytes", one_or_range(&bytes)), &got))
    }

    fn objects(&mut self, name: &str, count: RangeInclusive<usize>) -> Result<Vec<Self>, ErrorBody> {
        let values = match self.take(name) {
            Some(Value::List(values)) if count.contains(&values.len()) => values,
            other => {
                let expected = format!("a list of {} to {} objects", count.start(), count.end());
                return Err(self.error(name, &expected, other.as_ref()));
            }
        };
        let objects = values.into_iter().enumerate().map(|(index, value)| match value {
            Value::Object(object) => Ok(Fields::with_prefix(format!("{}{name}[{index}].", self.prefix), object)),
            other => Err(self.error(&format!("{name}[{index}]"), "an object", Some(&other))),
        });
        objects.collect()
    }

    fn finish(self) -> Result<(), ErrorBody> {
        let Some((name, _)) = self.fields.iter().find(|(_, value)| value.is_some()) else { return Ok(()) };
        let path = self.path(&quoted(name));
        let message = format!("unknown field '{path}': this command does not have it");
        Err(ErrorBody::in_field(ErrorCode::InvalidField, path, message))
    }
}

/// Returns `64` or `8 to 1024`.
fn one_or_range(range: &RangeInclusive<usize>) -> String {
    if range.start() == range.end() {
        return range.start().to_string();
    }
    format!("{} to {}", range.start(), range.end())
}

/// Returns the start of a client's text, for an error message.
pub(crate) fn quoted(text: &str) -> Cow<'_, str> {
    shorten(Cow::Borrowed(text), MAX_QUOTED_CHARS)
}

/// Describes an invalid value briefly.
pub(crate) fn describe(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Unsigned(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}, which has a fraction or an exponent or is -0"),
        Value::Text(text) => format!("the text '{}'", quoted(text)),
        Value::List(values) => format!("a list of {} values", values.len()),
        Value::Object(_) => "an object".to_owned(),
    }
}
