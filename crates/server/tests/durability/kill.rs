//! kill -9 under load: no acknowledged order is lost, and no idempotency key makes two orders.

use std::collections::HashMap;
use std::env;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nix::sys::signal::Signal;
use protocol::encode_frame;
use serde_json::{Value, json};

use crate::support::{Client, Server, eventually};

/// Connections that place orders.
const CLIENTS: usize = 8;

/// Requests that each of them has in flight.
const IN_FLIGHT: usize = 4;

/// Rounds of the long test, unless `TESTBED_KILL_ROUNDS` has another number.
const MANY_ROUNDS: usize = 100;

pub(crate) fn every_acknowledged_order_survives_five_kills() {
    kill_repeatedly(5);
}

pub(crate) fn every_acknowledged_order_survives_many_kills() {
    let rounds = env::var("TESTBED_KILL_ROUNDS").map_or(MANY_ROUNDS, |rounds| rounds.parse().unwrap());
    let acknowledged = kill_repeatedly(rounds);
    println!("{rounds} rounds of kill -9: none of {acknowledged} acknowledged orders lost");
}

/// Kills a server under load and restarts it, `rounds` times. Returns the number of acknowledged orders.
fn kill_repeatedly(rounds: usize) -> usize {
    let settings = ["--log", "warn", "--catalogue-stock", "1000000000"];
    let mut server = Server::start(&settings);
    let token = server.customer("ann");
    let (mut orders, mut acknowledged) = (0, 0);
    for round in 0..rounds {
        // Different in each round, so that the kill meets different states of the log and its checkpoints.
        let enough = 100 + round * 397 % 1500;
        let sent = place_orders_until_killed(&server, &token, round, enough);
        assert!(!server.wait().success());
        acknowledged += sent.values().flatten().count();
        orders += sent.len();
        server = Server::start_in(server.directory(), &settings);
        repeat(server.shop, &token, &sent);
        let report = server.check();
        assert_eq!(report["consistent"], true, "round {round}: {report}");
        assert_eq!(report["orders"], orders, "round {round}: one order per idempotency key");
    }
    acknowledged
}

/// Places orders on all connections and kills the server after `enough` responses. Returns the orders' idempotency keys,
/// with the ids of those that were acknowledged.
fn place_orders_until_killed(
    server: &Server,
    token: &str,
    round: usize,
    enough: usize,
) -> HashMap<String, Option<i64>> {
    let responses = AtomicUsize::new(0);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (responses, shop) = (&responses, server.shop);
                scope.spawn(move || place_orders(shop, token, &format!("{round}-{client}"), responses))
            })
            .collect();
        eventually("enough orders are placed", || responses.load(Ordering::Relaxed) >= enough);
        server.signal(Signal::SIGKILL);
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

fn place_orders(shop: SocketAddr, token: &str, prefix: &str, responses: &AtomicUsize) -> HashMap<String, Option<i64>> {
    let mut client = Client::connect(shop);
    let mut orders = HashMap::new();
    for batch in 0.. {
        let keys: Vec<String> = (0..IN_FLIGHT).map(|index| format!("{prefix}-{batch}-{index}")).collect();
        let frames: Vec<u8> = keys.iter().flat_map(|key| frame(token, key)).collect();
        orders.extend(keys.iter().map(|key| (key.clone(), None)));
        if client.stream.write_all(&frames).is_err() {
            break;
        }
        for key in keys {
            let Ok(Some(response)) = client.receive_or_end() else { return orders };
            orders.insert(key, Some(order_id(&response)));
            responses.fetch_add(1, Ordering::Relaxed);
        }
    }
    orders
}

/// Repeats all orders of a round: those that were acknowledged must exist, and each key must have one order.
fn repeat(shop: SocketAddr, token: &str, orders: &HashMap<String, Option<i64>>) {
    let mut client = Client::connect(shop);
    for (key, acknowledged) in orders {
        client.stream.write_all(&frame(token, key)).unwrap();
        let response = client.receive();
        if let Some(id) = acknowledged {
            assert_eq!(response["result"]["replayed"], true, "the acknowledged order {id} is lost");
            assert_eq!(order_id(&response), *id);
        }
        let first = order_id(&response);
        client.stream.write_all(&frame(token, key)).unwrap();
        assert_eq!(order_id(&client.receive()), first, "key {key} has two orders");
    }
}

fn frame(token: &str, key: &str) -> Vec<u8> {
    let items = json!([{"product_id": 1, "quantity": 1}, {"product_id": 2, "quantity": 3}]);
    let request = json!({"command": "place_order", "token": token, "items": items, "idempotency_key": key});
    encode_frame(request.to_string().as_bytes()).unwrap()
}

fn order_id(response: &Value) -> i64 {
    response["result"]["order_id"].as_i64().unwrap_or_else(|| panic!("{response}"))
}
