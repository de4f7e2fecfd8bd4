//! JSON Schema of the protocol: requests as the decoder declares their fields, results from their types. The golden file
//! `docs/protocol.schema.json` is for programs that are written in other languages.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::rc::Rc;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};
use test_support::assert_golden;

use crate::error::ErrorBody;
use crate::fields::ReadFields;
use crate::request::{Command, Port, Request};
use crate::{PROTOCOL_VERSION, response};

/// Texts without control characters (`char::is_control`).
const PRINTABLE: &str = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$";

/// Fields of one object as a command reads them. Each read returns a valid value.
#[derive(Default, Clone)]
struct Recorder(Rc<RefCell<Vec<Field>>>);

struct Field {
    name: String,
    is_required: bool,
    schema: Value,
    /// Fields of the objects in a list.
    items: Option<Recorder>,
}

impl Recorder {
    fn record(&self, name: &str, is_required: bool, schema: Value) {
        self.0.borrow_mut().push(Field { name: name.to_owned(), is_required, schema, items: None });
    }

    /// Returns the schema of the object, which has the property `command` if it is a request.
    fn schema(&self, command: Option<Command>) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        if let Some(command) = command {
            properties.insert("command".to_owned(), json!({"const": command.name()}));
            required.push("command".to_owned());
        }
        for field in self.0.borrow().iter() {
            let mut schema = field.schema.clone();
            if let Some(items) = &field.items {
                schema["items"] = items.schema(None);
            }
            if field.is_required {
                required.push(field.name.clone());
            } else {
                // null counts as absent.
                schema["type"] = json!([schema["type"], "null"]);
            }
            properties.insert(field.name.clone(), schema);
        }
        json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
    }
}

fn text_schema(chars: &RangeInclusive<usize>, pattern: &str) -> Value {
    json!({"type": "string", "minLength": chars.start(), "maxLength": chars.end(), "pattern": pattern})
}

fn integer_schema(range: &RangeInclusive<i64>) -> Value {
    json!({"type": "integer", "minimum": range.start(), "maximum": range.end()})
}

fn first<T: TryFrom<i64>>(range: &RangeInclusive<i64>) -> T {
    T::try_from(*range.start()).ok().unwrap()
}

impl ReadFields for Recorder {
    fn integer<T: TryFrom<i64>>(&mut self, name: &str, range: RangeInclusive<i64>) -> Result<T, ErrorBody> {
        self.record(name, true, integer_schema(&range));
        Ok(first(&range))
    }

    fn integer_or<T: TryFrom<i64>>(&mut self, name: &str, range: RangeInclusive<i64>, _: T) -> Result<T, ErrorBody> {
        self.record(name, false, integer_schema(&range));
        Ok(first(&range))
    }

    fn text(&mut self, name: &str, chars: RangeInclusive<usize>) -> Result<String, ErrorBody> {
        self.record(name, true, text_schema(&chars, PRINTABLE));
        Ok("a".repeat(*chars.start()))
    }

    fn optional_text(&mut self, name: &str, chars: RangeInclusive<usize>) -> Result<Option<String>, ErrorBody> {
        self.record(name, false, text_schema(&chars, PRINTABLE));
        Ok(None)
    }

    fn username(&mut self, name: &str, chars: RangeInclusive<usize>) -> Result<String, ErrorBody> {
        self.record(name, true, text_schema(&chars, "^[A-Za-z0-9_.-]*$"));
        Ok("a".repeat(*chars.start()))
    }

    fn secret(&mut self, name: &str, bytes: RangeInclusive<usize>) -> Result<String, ErrorBody> {
        // The schema counts characters, of which each has at least one byte.
        let comment = format!("{} to {} bytes of UTF-8", bytes.start(), bytes.end());
        let min = if bytes.start() == bytes.end() { *bytes.start() } else { bytes.start().div_ceil(4) };
        let schema = json!({"type": "string", "minLength": min, "maxLength": bytes.end(), "$comment": comment});
        self.record(name, true, schema);
        Ok("a".repeat(*bytes.start()))
    }

    fn objects(&mut self, name: &str, count: RangeInclusive<usize>) -> Result<Vec<Self>, ErrorBody> {
        let items = Recorder::default();
        let schema = json!({"type": "array", "minItems": count.start(), "maxItems": count.end()});
        let field = Field { name: name.to_owned(), is_required: true, schema, items: Some(items.clone()) };
        self.0.borrow_mut().push(field);
        Ok(vec![items])
    }

    fn finish(self) -> Result<(), ErrorBody> {
        Ok(())
    }
}

fn request_schema(command: Command) -> Value {
    let mut fields = Recorder::default();
    command.read(&mut fields).ok().unwrap();
    fields.schema(Some(command))
}

/// Returns the schema of a command's result.
fn result_schema(command: Command, generator: &mut SchemaGenerator) -> Value {
    fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
        generator.subschema_for::<T>().to_value()
    }
    match command {
        Command::Hello => of::<response::Greeting>(generator),
        Command::Register => of::<response::Registered>(generator),
        Command::Login => of::<response::LoggedIn>(generator),
        Command::Logout | Command::ChangePassword | Command::SubmitRating => of::<response::Done>(generator),
        Command::ViewCategories => of::<response::Categories>(generator),
        Command::ViewProducts => of::<response::Products>(generator),
        Command::ViewProduct => of::<response::ProductFound>(generator),
        Command::AddProduct => of::<response::ProductAdded>(generator),
        Command::PlaceOrder => of::<response::OrderPlaced>(generator),
        Command::ViewOrderHistory => of::<response::OrderHistory>(generator),
        Command::ViewOrder => of::<response::OrderFound>(generator),
    }
}

fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut commands = Map::new();
    for &command in Command::ALL {
        let ports: Vec<&str> = match command.port() {
            Some(port) => vec![port.name()],
            None => vec![Port::Accounts.name(), Port::Shop.name()],
        };
        let result = result_schema(command, &mut generator);
        commands.insert(
            command.name().to_owned(),
            json!({"ports": ports, "request": request_schema(command), "result": result}),
        );
    }
    let response = generator.subschema_for::<response::Response>().to_value();
    let definitions = generator.take_definitions(true);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("Protocol of the shop, version {PROTOCOL_VERSION}"),
        "$comment": "Generated by `TESTBED_UPDATE_GOLDEN=1 cargo test -p protocol schema`; described by protocol.md.",
        "commands": commands,
        "response": response,
        "$defs": definitions,
    })
}

#[test]
fn the_schema_in_the_documentation_is_that_of_the_types() {
    let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    assert_golden(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocol.schema.json"), &text);
}

/// Returns a value that the schema of a field permits: the smallest, or the largest.
fn extreme(schema: &Value, largest: bool) -> Value {
    let bound = |min: &str, max: &str| schema[if largest { max } else { min }].as_i64().unwrap();
    match schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap() {
        "integer" => bound("minimum", "maximum").into(),
        "string" => "7".repeat(bound("minLength", "maxLength") as usize).into(),
        "array" => {
            let item = |index| {
                let mut item = object(&schema["items"], largest);
                item["product_id"] = json!(1 + index);
                item
            };
            (0..bound("minItems", "maxItems")).map(item).collect()
        }
        other => panic!("unknown type {other}"),
    }
}

fn object(schema: &Value, largest: bool) -> Value {
    let properties = schema["properties"].as_object().unwrap().iter();
    properties
        .map(|(name, schema)| (name.clone(), schema.get("const").cloned().unwrap_or_else(|| extreme(schema, largest))))
        .collect()
}

/// Returns a value just beyond the smallest or largest that the schema of a field permits, if there is one.
fn beyond(schema: &Value, largest: bool) -> Option<Value> {
    if schema.get("const").is_some() {
        return None;
    }
    match extreme(schema, largest) {
        Value::Number(number) if largest => number.as_i64()?.checked_add(1).map(Value::from),
        Value::Number(number) => Some((number.as_i64()? - 1).into()),
        Value::String(text) if largest => Some((text + "7").into()),
        Value::String(text) => text.get(1..).map(Value::from),
        Value::Array(mut items) => {
            if largest {
                items.push(json!({"product_id": 1_000, "quantity": 1}));
            } else {
                items.pop();
            }
            Some(items.into())
        }
        _ => None,
    }
}

#[test]
fn the_decoder_accepts_what_the_schema_permits_and_nothing_beyond() {
    for &command in Command::ALL {
        let schema = request_schema(command);
        let decode = |request: &Value| {
            Request::decode(request.to_string().as_bytes(), command.port().unwrap_or(Port::Shop)).map(|_| ())
        };
        for largest in [false, true] {
            let mut request = object(&schema, largest);
            for (name, property) in schema["properties"].as_object().unwrap() {
                // Shorter passwords than the schema permits have fewer bytes than the bound, not than the schema's minimum.
                if property.get("$comment").is_some() {
                    request[name] = "7".repeat(64).into();
                }
            }
            decode(&request).unwrap_or_else(|error| panic!("{request}: {error}"));
            for (name, property) in schema["properties"].as_object().unwrap() {
                let is_password = property.get("$comment").is_some() && !largest;
                if let Some(value) = beyond(property, largest).filter(|_| !is_password) {
                    let mut request = request.clone();
                    request[name] = value;
                    assert!(decode(&request).is_err(), "{request}");
                }
                let mut without = request.clone();
                without.as_object_mut().unwrap().remove(name);
                let is_required = schema["required"].as_array().unwrap().contains(&json!(name));
                assert_eq!(decode(&without).is_err(), is_required, "{without}");
            }
        }
    }
}
