//! Frames, pipelining, limits and timeouts of a connection.

use std::io::Write;
use std::net::Shutdown;

use protocol::{encode_frame, limits};
use serde_json::json;

use crate::support::{Client, Server, error, eventually, order, refusal};

#[test]
fn a_hundred_requests_in_one_write_get_responses_in_order() {
    let server = Server::start(&[]);
    let token = server.customer("ann");
    let mut bytes = Vec::new();
    for index in 0..100_i64 {
        let request = match index % 3 {
            0 => json!({"command": "view_products", "page": index + 1, "page_size": 1}),
            1 => order(&token, 1, index),
            _ => json!({"command": "view_products", "page": -index}),
        };
        bytes.extend(encode_frame(&serde_json::to_vec(&request).unwrap()).unwrap());
    }
    let mut shop = server.on_shop();
    shop.stream.write_all(&bytes).unwrap();
    let price = shop_price(&server);
    for index in 0..100_i64 {
        let response = shop.receive();
        match index % 3 {
            0 => assert_eq!(response["result"]["page"], index + 1),
            1 => assert_eq!(response["result"]["total_cents"], index * price, "{response}"),
            _ => {
                let message = response["error"]["message"].as_str().unwrap();
                assert!(message.contains(&format!("got -{index}")), "{message}");
            }
        }
    }
}

fn shop_price(server: &Server) -> i64 {
    let page = server.on_shop().ok(json!({"command": "view_products", "page_size": 1}));
    page["products"][0]["price_cents"].as_i64().unwrap()
}

#[test]
fn a_request_may_arrive_byte_by_byte() {
    let server = Server::start(&[]);
    let mut shop = server.on_shop();
    for byte in encode_frame(br#"{"command":"view_categories"}"#).unwrap() {
        shop.stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(shop.receive()["ok"], true);
}

#[test]
fn a_client_that_closes_its_sending_side_still_gets_its_responses() {
    let server = Server::start(&[]);
    let mut shop = server.on_shop();
    shop.send(&json!({"command": "view_categories"}));
    shop.send(&json!({"command": "view_products"}));
    shop.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!((&shop.receive()["ok"], &shop.receive()["ok"]), (&json!(true), &json!(true)));
    shop.assert_closed();
}

#[test]
fn a_huge_frame_gets_an_error_before_the_connection_is_closed() {
    let server = Server::start(&[]);
    let mut shop = server.on_shop();
    shop.send(&json!({"command": "view_categories"}));
    shop.stream.write_all(&(8_u32 << 20).to_be_bytes()).unwrap();
    // A client that sends everything before it reads must still receive the response.
    shop.stream.write_all(&vec![b'x'; 8 << 20]).unwrap();
    assert_eq!(shop.receive()["ok"], true);
    assert_eq!(refusal(&shop.receive()), error("frame_too_large", ""));
    shop.assert_closed();
}

#[test]
fn the_largest_request_of_each_port_is_accepted_and_one_byte_more_is_not() {
    let server = Server::start(&[]);
    for (mut client, maximum) in
        [(server.on_accounts(), limits::ACCOUNTS_REQUEST_BYTES), (server.on_shop(), limits::SHOP_REQUEST_BYTES)]
    {
        let mut payload = br#"{"command":"hello"}"#.to_vec();
        payload.resize(maximum, b' ');
        client.send_payload(&payload);
        assert_eq!(client.receive()["ok"], true);
        payload.push(b' ');
        client.send_payload(&payload);
        assert_eq!(refusal(&client.receive()), error("frame_too_large", ""));
        client.assert_closed();
    }
}

#[test]
fn an_incomplete_request_gets_an_error_and_the_connection_is_closed() {
    let server = Server::start(&["--request-timeout", "300ms"]);
    let mut shop = server.on_shop();
    let frame = encode_frame(br#"{"command":"view_categories"}"#).unwrap();
    // A complete request, and the start of another.
    shop.stream.write_all(&[frame.as_slice(), &frame[..9]].concat()).unwrap();
    assert_eq!(shop.receive()["ok"], true);
    assert_eq!(refusal(&shop.receive()), error("request_timeout", ""));
    shop.assert_closed();
}

#[test]
fn single_bytes_of_a_request_do_not_extend_its_timeout() {
    let server = Server::start(&["--request-timeout", "300ms"]);
    let mut shop = server.on_shop();
    let frame = encode_frame(&[b' '; 5000]).unwrap();
    let mut bytes = frame.iter();
    eventually("the request times out", || {
        let _ = shop.stream.write_all(&[*bytes.next().unwrap()]);
        !shop.has_no_response()
    });
    assert_eq!(refusal(&shop.receive()), error("request_timeout", ""));
}

#[test]
fn an_idle_connection_is_closed_without_a_response() {
    let server = Server::start(&["--idle-timeout", "1s"]);
    let (mut accounts, mut shop) = (server.on_accounts(), server.on_shop());
    shop.ok(json!({"command": "view_categories"}));
    accounts.assert_closed();
    shop.assert_closed();
}

#[test]
fn a_connection_beyond_the_limit_gets_an_error_and_is_closed() {
    let server = Server::start(&["--max-connections", "2"]);
    let (mut one, mut two) = (server.on_shop(), server.on_accounts());
    one.ok(json!({"command": "view_categories"}));
    assert_eq!(two.call(json!({"command": "x"}))["ok"], false);
    let mut three = server.on_shop();
    assert_eq!(refusal(&three.receive()), error("overloaded", ""));
    three.assert_closed();
    one.ok(json!({"command": "view_categories"}));
    drop(one);
    eventually("a connection is available again", || {
        let mut next = server.on_shop();
        next.stream.write_all(&encode_frame(br#"{"command":"view_categories"}"#).unwrap()).unwrap();
        matches!(next.receive_or_end(), Ok(Some(response)) if response["ok"] == true)
    });
}

#[test]
fn clients_that_disconnect_before_their_response_cause_no_errors() {
    let server = Server::start(&["--log", "warn"]);
    for _ in 0..300 {
        server.on_shop().ok(json!({"command": "view_categories"}));
        // Disconnects before its response.
        let mut hasty = Client::connect(server.shop);
        hasty.send(&json!({"command": "view_products"}));
    }
    server.on_shop().ok(json!({"command": "view_categories"}));
    assert_eq!(server.log(), "");
}

#[test]
fn operations_and_connections_are_logged_with_fields() {
    let server = Server::start(&["--log", "debug", "--log-format", "json"]);
    let mut shop = server.on_shop();
    shop.ok(json!({"command": "view_categories"}));
    shop.call(json!({"command": "view_products", "page": 0}));
    drop(shop);
    eventually("the connection's end is logged", || server.log().contains("connection closed"));
    let log = server.log();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let operations: Vec<_> = lines.iter().filter(|line| line["message"] == "operation").collect();
    assert_eq!(operations.len(), 2, "{log}");
    assert_eq!((&operations[0]["operation"], &operations[0]["outcome"]), (&json!("view_categories"), &json!("ok")));
    assert_eq!(operations[1]["outcome"], "invalid_field");
    assert_eq!((&operations[0]["level"], &operations[0]["port"]), (&json!("DEBUG"), &json!("shop")));
    assert!(operations[0]["server_us"].is_u64() && operations[0]["peer"].is_string());
    let closed = lines.iter().find(|line| line["message"] == "connection closed").unwrap();
    assert_eq!((&closed["level"], &closed["requests"]), (&json!("INFO"), &json!(2)));
}
