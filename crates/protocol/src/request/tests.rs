//! Decoding: every encoded request, and the errors of invalid ones.

use super::*;
use proptest::prelude::*;

const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

pub(crate) fn every_request() -> Vec<Request> {
    let token = TOKEN.to_owned();
    let name = || "ann".to_owned();
    let password = || "password-1".to_owned();
    vec![
        Request::Hello {},
        Request::Register { username: name(), password: password() },
        Request::Login { username: name(), password: password() },
        Request::Logout { token: token.clone() },
        Request::ChangePassword { token: token.clone(), current_password: password(), new_password: password() },
        Request::ViewCategories { page: 2, page_size: 5 },
        Request::ViewProducts { category: Some("Tea".into()), page: 2, page_size: 5 },
        Request::ViewProduct { product_id: 7 },
        Request::AddProduct {
            token: token.clone(),
            name: name(),
            category: name(),
            description: String::new(),
            price_cents: 5,
            stock: 0,
        },
        Request::PlaceOrder {
            token: token.clone(),
            items: vec![OrderItem { product_id: 1, quantity: 2 }],
            idempotency_key: Some("k".into()),
        },
        Request::SubmitRating { token: token.clone(), order_id: 1, product_id: 1, stars: 5 },
        Request::ViewOrderHistory { token: token.clone(), page: 1, page_size: 20 },
        Request::ViewOrder { token, order_id: 1 },
    ]
}

#[test]
fn every_request_is_decoded_from_its_encoding() {
    let requests = every_request();
    let commands: Vec<&str> = requests.iter().map(Request::command).collect();
    assert_eq!(commands, Command::ALL.iter().map(|command| command.name()).collect::<Vec<_>>());
    for request in requests {
        let payload = serde_json::to_vec(&request).unwrap();
        let decoded = Request::decode(&payload, request.port());
        assert!(decoded.as_ref() == Ok(&request), "{} was decoded as {:?}", request.command(), decoded.err());
    }
}

#[test]
fn null_in_an_optional_field_counts_as_absent() {
    let order = format!(r#"{{"command":"place_order","token":"{TOKEN}","items":[{{"product_id":1,"quantity":1}}]"#);
    let product =
        format!(r#"{{"command":"add_product","token":"{TOKEN}","name":"a","category":"b","price_cents":1,"stock":1"#);
    let history = format!(r#"{{"command":"view_order_history","token":"{TOKEN}""#);
    for (request, fields) in [
        (r#"{"command":"view_categories""#, ["page", "page_size"].as_slice()),
        (r#"{"command":"view_products""#, &["category", "page", "page_size"]),
        (&product, &["description"]),
        (&order, &["idempotency_key"]),
        (&history, &["page", "page_size"]),
    ] {
        let without = Request::decode(format!("{request}}}").as_bytes(), Port::Shop).ok().unwrap();
        for field in fields {
            let with_null = format!(r#"{request},"{field}":null}}"#);
            let decoded = Request::decode(with_null.as_bytes(), Port::Shop);
            assert!(decoded.as_ref() == Ok(&without), "{with_null}: {:?}", decoded.err());
        }
    }
}

#[test]
fn the_last_of_repeated_fields_counts() {
    let decoded = Request::decode(br#"{"command":"view_products","page":0,"page":null,"page":3}"#, Port::Shop);
    assert!(matches!(decoded, Ok(Request::ViewProducts { page: 3, .. })));
}

#[test]
fn a_valid_request_fits_into_its_ports_limit_with_every_character_escaped() {
    // Twelve bytes for a character outside of the basic multilingual plane, six for one byte of a password.
    let escaped = |chars: usize| r"\ud83d\ude00".repeat(chars);
    let product = format!(
        r#"{{"command":"add_product","token":"{TOKEN}","name":"{name}","category":"{name}","description":"{text}","price_cents":1000000000,"stock":1000000000}}"#,
        name = escaped(*limits::NAME_CHARS.end()),
        text = escaped(*limits::DESCRIPTION_CHARS.end())
    );
    let password = r"\u0001".repeat(*limits::PASSWORD_BYTES.end());
    let change = format!(
        r#"{{"command":"change_password","token":"{TOKEN}","current_password":"{password}","new_password":"{password}"}}"#
    );
    let item = |id: u64| format!(r#"{{"product_id":{},"quantity":1000000}}"#, i64::MAX as u64 - id);
    let order = format!(
        r#"{{"command":"place_order","token":"{TOKEN}","items":[{}],"idempotency_key":"{}"}}"#,
        (0..100).map(item).collect::<Vec<_>>().join(","),
        escaped(*limits::IDEMPOTENCY_KEY_CHARS.end())
    );
    for (port, text) in [(Port::Shop, product), (Port::Accounts, change), (Port::Shop, order)] {
        assert!(text.len() <= port.max_request_bytes(), "{} bytes", text.len());
        assert!(Request::decode(text.as_bytes(), port).is_ok());
    }
}

/// Asserts code and field of the error of an invalid request.
fn check_error(port: Port, text: &str, code: ErrorCode, field: Option<&str>) {
    let error = Request::decode(text.as_bytes(), port).err().unwrap_or_else(|| panic!("{text} was accepted"));
    assert_eq!((error.code, error.field.as_deref()), (code, field), "{text}: {error}");
}

#[test]
fn an_invalid_object_or_command_is_an_error() {
    for (port, text, code, field) in [
        (Port::Shop, "[]", ErrorCode::MalformedRequest, None),
        (Port::Shop, "{", ErrorCode::MalformedRequest, None),
        (Port::Shop, r#"{"command":"view_products","page":1e400}"#, ErrorCode::MalformedRequest, None),
        (Port::Shop, r#"{"command":"view_products","page":-0}"#, ErrorCode::InvalidField, Some("page")),
        (Port::Shop, "{}", ErrorCode::InvalidField, Some("command")),
        (Port::Shop, r#"{"command":"fly"}"#, ErrorCode::UnknownCommand, Some("command")),
        (Port::Shop, r#"{"command":"login"}"#, ErrorCode::WrongPort, Some("command")),
        (Port::Accounts, r#"{"command":"view_categories"}"#, ErrorCode::WrongPort, Some("command")),
    ] {
        check_error(port, text, code, field);
    }
}

#[test]
fn the_error_of_an_invalid_field_names_it() {
    let long_name = format!(r#"{{"command":"login","username":"{}"}}"#, "x".repeat(65));
    for (text, field) in [
        (r#"{"command":"login"}"#, "username"),
        (r#"{"command":"login","username":7}"#, "username"),
        (&long_name, "username"),
        (r#"{"command":"register","username":"a b","password":"12345678"}"#, "username"),
        (r#"{"command":"register","username":"a","password":"short"}"#, "password"),
    ] {
        check_error(Port::Accounts, text, ErrorCode::InvalidField, Some(field));
    }
    for (text, field) in
        [(r#"{"command":"view_categories","x":1}"#, "x"), (r#"{"command":"view_products","page":0}"#, "page")]
    {
        check_error(Port::Shop, text, ErrorCode::InvalidField, Some(field));
    }
}

#[test]
fn the_error_of_an_invalid_order_item_has_its_path() {
    for (items, field) in [
        (r#"[{"product_id":1,"quantity":-1}]"#, "items[0].quantity"),
        ("[]", "items"),
        ("[3]", "items[0]"),
        (r#"[{"product_id":1,"quantity":1},{"product_id":1,"quantity":1}]"#, "items[1].product_id"),
    ] {
        let text = format!(r#"{{"command":"place_order","token":"{TOKEN}","items":{items}}}"#);
        check_error(Port::Shop, &text, ErrorCode::InvalidField, Some(field));
    }
}

#[test]
fn error_messages_never_quote_passwords() {
    let text = r#"{"command":"register","username":"a","password":"secret!"}"#;
    let error = Request::decode(text.as_bytes(), Port::Accounts).err().unwrap();
    assert!(!error.message.contains("secret!"), "{error}");
}

proptest! {
    #[test]
    fn no_payload_makes_the_decoder_panic(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Request::decode(&payload, Port::Shop);
    }
}

#[test]
fn the_error_of_an_unknown_field_with_a_long_name_is_short() {
    let text = format!(r#"{{"command":"view_categories","{}":1}}"#, "x".repeat(60_000));
    let error = Request::decode(text.as_bytes(), Port::Shop).err().unwrap();
    assert!(error.message.len() < 200, "{error}");
    assert_eq!(error.field.unwrap(), format!("{}…", "x".repeat(40)));
}
