//! Metrics and the log of slow operations.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::{Client, Server, eventually, order};

/// Sends a request to the server's metrics address. Returns head and body of the response.
fn get(server: &Server, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(server.metrics.unwrap()).unwrap();
    stream.write_all(format!("{request}\r\nHost: shop\r\n\r\n").as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// Returns all samples by name and labels.
fn scrape(server: &Server) -> HashMap<String, f64> {
    let (head, body) = get(server, "GET /metrics HTTP/1.1");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    let samples = body.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    samples.collect()
}

#[test]
fn metrics_count_operations_connections_and_commits() {
    let server = Server::start(&["--metrics-listen", "127.0.0.1:0", "--max-connections", "3"]);
    let token = server.customer("ann");
    let mut shop = server.on_shop();
    for quantity in [1, 2, 0] {
        shop.call(order(&token, 1, quantity));
    }
    shop.ok(json!({"command": "view_products"}));
    shop.send_payload(b"{");
    shop.receive();
    // A connection counts until the server has noticed its end.
    eventually("earlier connections have ended", || scrape(&server)[r#"shop_connections{port="accounts"}"#] == 0.0);
    let rest: Vec<Client> = (0..4).map(|_| server.on_shop()).collect();
    let mut samples = HashMap::new();
    eventually("the last connections are counted", || {
        samples = scrape(&server);
        // A scrape reads the counters one after the other, and a connection may be rejected between two of them.
        let count = |what: &str| samples[&format!(r#"shop_connections_{what}_total{{port="shop"}}"#)];
        count("accepted") == 5.0 && count("rejected") >= 2.0
    });
    for (sample, expected) in [
        (r#"shop_operations_total{command="place_order",outcome="ok"}"#, 2.0),
        (r#"shop_operations_total{command="none",outcome="invalid_field"}"#, 1.0),
        (r#"shop_operations_total{command="none",outcome="malformed_request"}"#, 1.0),
        (r#"shop_operations_total{command="view_products",outcome="ok"}"#, 1.0),
        (r#"shop_operations_total{command="register",outcome="ok"}"#, 1.0),
        (r#"shop_server_time_seconds_count{command="place_order"}"#, 2.0),
        (r#"shop_server_time_seconds_bucket{command="place_order",le="+Inf"}"#, 2.0),
        // One transaction each: registration, login and two orders.
        (r"shop_commit_jobs_count", 4.0),
        (r"shop_commit_jobs_sum", 4.0),
        (r#"shop_queue_length{queue="writer"}"#, 0.0),
        (r#"shop_queue_length{queue="passwords"}"#, 0.0),
        (r"shop_buffer_bytes", 0.0),
        (r"shop_tcp_retransmits_total", 0.0),
    ] {
        assert_eq!(samples.get(sample), Some(&expected), "{sample}: {samples:#?}");
    }
    let seconds = samples[r#"shop_server_time_seconds_sum{command="place_order"}"#];
    assert!(seconds > 0.0 && seconds < 30.0, "{seconds}");
    drop(rest);
    eventually("ended connections are not open", || scrape(&server)[r#"shop_connections{port="shop"}"#] <= 1.0);
    assert!(get(&server, "GET / HTTP/1.1").0.starts_with("HTTP/1.1 404"));
    assert!(get(&server, "POST /metrics HTTP/1.1").0.starts_with("HTTP/1.1 405"));
}

#[test]
fn slow_operations_are_logged_with_their_components() {
    let server = Server::start(&["--slow-operation", "1us", "--log", "warn", "--log-format", "json"]);
    let token = server.customer("ann");
    server.on_shop().ok(order(&token, 1, 1));
    let log = server.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let slow = lines.iter().find(|line| line["operation"] == "place_order").unwrap_or_else(|| panic!("{log}"));
    assert_eq!((&slow["message"], &slow["outcome"]), (&json!("slow operation"), &json!("ok")));
    let number = |name: &str| slow[name].as_u64().unwrap();
    assert!(number("database_us") > 0 && number("queue_us") + number("database_us") <= number("server_us"), "{slow}");
}
