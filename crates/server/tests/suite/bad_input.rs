//! Invalid requests get an error that names the cause, and the connection remains usable.

use std::io::Write;

use serde_json::{Value, json};

use crate::support::{Client, Server, error, refusal};

fn assert_usable(client: &mut Client) {
    client.ok(json!({"command": "view_categories"}));
}

#[test]
fn an_invalid_payload_gets_an_error_and_the_connection_remains_usable() {
    let server = Server::start(&[]);
    let mut shop = server.on_shop();
    let nested = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    for payload in [
        b"".as_slice(),
        b"hello",
        b"{",
        b"[]",
        b"null",
        b"{\"a\":1",
        b"\xff\xfe{}",
        b"{\"command\":\"\xff\"}",
        nested.as_bytes(),
    ] {
        shop.send_payload(payload);
        let response = shop.receive();
        assert_eq!(refusal(&response), error("malformed_request", ""), "{}", String::from_utf8_lossy(payload));
        assert_usable(&mut shop);
    }
}

#[test]
fn the_error_names_every_invalid_field() {
    let server = Server::start(&[]);
    let token = server.customer("ann");
    let mut shop = server.on_shop();
    let items = |items: Value| json!({"command": "place_order", "token": token, "items": items});
    let item = |quantity: Value| items(json!([{"product_id": 1, "quantity": quantity}]));
    let rate = |stars: Value| json!({"command": "submit_rating", "token": token, "order_id": 1, "product_id": 1, "stars": stars});
    for (request, code, field) in [
        (json!({}), "invalid_field", "command"),
        (json!({"command": 7}), "invalid_field", "command"),
        (json!({"command": "fly"}), "unknown_command", "command"),
        (json!({"command": "login", "username": "ann", "password": "x"}), "wrong_port", "command"),
        (json!({"command": "view_categories", "color": "red"}), "invalid_field", "color"),
        (json!({"command": "view_products", "page": 0}), "invalid_field", "page"),
        (json!({"command": "view_products", "page": 1.5}), "invalid_field", "page"),
        (json!({"command": "view_products", "page_size": 101}), "invalid_field", "page_size"),
        (json!({"command": "view_products", "category": 3}), "invalid_field", "category"),
        (json!({"command": "place_order", "items": []}), "invalid_field", "token"),
        (json!({"command": "place_order", "token": "abc", "items": []}), "invalid_field", "token"),
        (items(json!([])), "invalid_field", "items"),
        (items(json!({"product_id": 1})), "invalid_field", "items"),
        (items(json!([1])), "invalid_field", "items[0]"),
        (item(json!(-1)), "invalid_field", "items[0].quantity"),
        (item(json!(0)), "invalid_field", "items[0].quantity"),
        (item(json!("2")), "invalid_field", "items[0].quantity"),
        (item(json!(1e30)), "invalid_field", "items[0].quantity"),
        (item(json!(1_000_001)), "invalid_field", "items[0].quantity"),
        (rate(json!(0)), "invalid_field", "stars"),
        (rate(json!(6)), "invalid_field", "stars"),
    ] {
        assert_eq!(shop.refusal(request.clone()), error(code, field), "{request}");
    }
    assert_usable(&mut shop);
    assert_eq!(server.check()["orders"], 0);
}

#[test]
fn the_accounts_port_rejects_commands_of_the_other_port_and_invalid_fields() {
    let server = Server::start(&[]);
    let mut accounts = server.on_accounts();
    let register =
        |username: &str, password: &str| json!({"command": "register", "username": username, "password": password});
    for (request, code, field) in [
        (json!({"command": "view_categories"}), "wrong_port", "command"),
        (register("", "password-1"), "invalid_field", "username"),
        (register("a b", "password-1"), "invalid_field", "username"),
        (register("ann\u{0}", "password-1"), "invalid_field", "username"),
        (register(&"a".repeat(65), "password-1"), "invalid_field", "username"),
        (register("ann", "1234567"), "invalid_field", "password"),
        (register("ann", &"x".repeat(1025)), "invalid_field", "password"),
        (json!({"command": "login", "username": "ann"}), "invalid_field", "password"),
        (json!({"command": "logout", "token": "'; DROP TABLE users; --"}), "invalid_field", "token"),
    ] {
        assert_eq!(accounts.refusal(request.clone()), error(code, field), "{request}");
    }
    accounts.ok(register(&"a".repeat(64), &"ü".repeat(512)));
}

#[test]
fn an_error_is_short_whatever_the_request_contains() {
    let server = Server::start(&[]);
    let mut shop = server.on_shop();
    let control_characters = format!("\"{}\"", "\u{7f}".repeat(60_000));
    for payload in [control_characters.clone(), format!(r#"{{"command":{control_characters}}}"#)] {
        shop.send_payload(payload.as_bytes());
        let response = shop.receive_raw();
        assert!(response.starts_with(br#"{"ok":false"#) && response.len() < 8000, "{} bytes", response.len());
    }
}

#[test]
fn bytes_of_http_get_an_error_that_says_so() {
    let server = Server::start(&[]);
    let mut shop = server.on_shop();
    shop.stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let response = shop.receive();
    assert_eq!(refusal(&response), error("frame_too_large", ""));
    assert!(response["error"]["message"].as_str().unwrap().contains("HTTP"), "{response}");
}

#[test]
fn sql_in_a_text_is_not_executed() {
    let server = Server::start(&["--catalogue", "none"]);
    let name = "'); DROP TABLE products; --";
    let mut shop = server.on_shop();
    shop.ok(json!({"command": "add_product", "token": server.admin(), "name": name, "category": name,
                   "price_cents": 1, "stock": 1}));
    let page = shop.ok(json!({"command": "view_products", "category": name}));
    assert_eq!(page["products"][0]["name"], name);
}
