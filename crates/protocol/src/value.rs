//! JSON of a request, decoded within bounds and borrowed from the payload where possible.
//!
//! A payload of a few kilobytes can contain thousands of nested values. The bounds limit memory and time of decoding to
//! a small multiple of the largest valid request's.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Maximum depth of nested lists and objects. A valid request has 3: request, items, item.
pub(crate) const MAX_DEPTH: usize = 8;
/// Maximum number of values, including lists and objects. A valid request has at most 304, for an order of 100 items.
pub(crate) const MAX_VALUES: usize = 1000;

/// JSON value.
#[derive(Debug)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Integer(i64),
    /// Integer above the range of `i64`.
    Unsigned(u64),
    /// Number with fraction or exponent, or −0.
    Float(f64),
    Text(Cow<'a, str>),
    List(Vec<Value<'a>>),
    Object(Vec<(Cow<'a, str>, Value<'a>)>),
}

/// Decodes `payload`, which must contain exactly one value.
///
/// # Errors
/// The payload is not JSON in UTF-8, or exceeds a bound. The error states line and column and does not quote the payload.
pub(crate) fn decode(payload: &[u8]) -> serde_json::Result<Value<'_>> {
    let mut deserializer = serde_json::Deserializer::from_slice(payload);
    let remaining = Cell::new(MAX_VALUES);
    let value = Bounded { depth: 0, remaining: &remaining }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Decoder of one value and its contents.
#[derive(Clone, Copy)]
struct Bounded<'b> {
    /// Number of lists and objects around the value.
    depth: usize,
    /// Number of values that the payload may still contain.
    remaining: &'b Cell<usize>,
}

impl Bounded<'_> {
    /// Returns the decoder of the contents of a list or object.
    fn contents<E: Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(E::custom(format_args!("lists and objects nested more than {MAX_DEPTH} levels deep")));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        let Some(remaining) = self.remaining.get().checked_sub(1) else {
            return Err(D::Error::custom(format_args!("more than {MAX_VALUES} values")));
        };
        self.remaining.set(remaining);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).map_or(Value::Unsigned(value), Value::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let seed = self.contents()?;
        let mut values = Vec::new();
        while let Some(value) = elements.next_element_seed(seed)? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let seed = self.contents()?;
        let mut object = Vec::with_capacity(TYPICAL_FIELDS);
        while let Some(name) = members.next_key_seed(Name)? {
            object.push((name, members.next_value_seed(seed)?));
        }
        Ok(Value::Object(object))
    }
}

/// Number of fields for which memory is reserved at once.
const TYPICAL_FIELDS: usize = 4;

/// Decoder of a field's name.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a field")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(payload: &str) -> String {
        decode(payload.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn the_deepest_and_the_largest_value_are_accepted_and_one_more_is_not() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        decode(nested(MAX_DEPTH).as_bytes()).unwrap();
        assert!(error(&nested(MAX_DEPTH + 1)).contains("more than 8 levels"), "{}", error(&nested(MAX_DEPTH + 1)));
        let list = |values: usize| format!("[{}]", vec!["1"; values].join(","));
        decode(list(MAX_VALUES - 1).as_bytes()).unwrap();
        assert!(error(&list(MAX_VALUES)).contains("more than 1000 values"), "{}", error(&list(MAX_VALUES)));
    }

    #[test]
    fn texts_are_borrowed_unless_they_contain_escapes() {
        let Value::List(values) = decode(br#"["ann","b\u00e9"]"#).unwrap() else { panic!("expected a list") };
        assert!(matches!(&values[0], Value::Text(Cow::Borrowed("ann"))), "{values:?}");
        assert!(matches!(&values[1], Value::Text(Cow::Owned(text)) if text == "bé"), "{values:?}");
    }

    #[test]
    fn numbers_keep_their_kind() {
        let text = b"[1,-1,18446744073709551615,1.0,-0,1e2]";
        let Value::List(values) = decode(text).unwrap() else { panic!("expected a list") };
        assert!(
            matches!(
                values[..],
                [
                    Value::Integer(1),
                    Value::Integer(-1),
                    Value::Unsigned(u64::MAX),
                    Value::Float(_),
                    Value::Float(_),
                    Value::Float(_)
                ]
            ),
            "{values:?}"
        );
        assert!(error("1e400").starts_with("number out of range at line 1"), "{}", error("1e400"));
    }

    #[test]
    fn errors_have_line_and_column_and_no_input() {
        for payload in ["{\"secret\"", "[\"secret\" 1]", "{\"a\":secret}", "\"secret"] {
            let message = error(payload);
            assert!(message.contains("line 1 column") && !message.contains("secret"), "{message}");
        }
    }
}
