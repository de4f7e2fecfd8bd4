//! The workload against a real shop.
use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;

use crate::common::{ADMIN, ADMIN_PASSWORD, Shop, client, samples, succeed};
use model::sample::{Outcome, Sample};

fn run(shop: &Shop, csv: &Path, args: &[&str]) -> Vec<Sample> {
    let mut command = client(["workload", "--csv"]);
    command.arg(csv).args(shop.port_args()).args(args).env("SHOP_ADMIN_PASSWORD", ADMIN_PASSWORD);
    succeed(&mut command);
    samples(csv)
}

/// Returns the decisions of the virtual users, sorted by user and sequence, without results that depend on the network.
fn decisions(samples: &[Sample]) -> Vec<(u32, u64, String, Option<u64>)> {
    let mut decisions: Vec<_> = samples.iter().map(decision).collect();
    decisions.sort();
    decisions
}

fn decision(sample: &Sample) -> (u32, u64, String, Option<u64>) {
    // A rating contains the number of its order, and which user gets which number is random.
    let bytes = sample.request_bytes.filter(|_| sample.operation != "submit_rating");
    (sample.user, sample.sequence, sample.operation.clone(), bytes)
}

#[test]
fn an_iteration_has_all_operations_in_order_and_every_row_is_labelled() {
    let shop = Shop::start(1000);
    let directory = tempfile::tempdir().unwrap();
    let args = ["--client=client-3", "--operations=16", "--think-time=0s", "--seed=5"];
    let rows = run(&shop, &directory.path().join("s.csv"), &args);
    let operations: Vec<&str> = rows.iter().map(|row| row.operation.as_str()).collect();
    let iteration = "register login view_categories view_products place_order submit_rating view_order_history logout";
    assert_eq!(operations.join(" "), format!("{iteration} {iteration}"));
    for (sequence, row) in (0..).zip(&rows) {
        assert_eq!(row.outcome, Outcome::Ok, "{row:?}");
        assert_eq!((row.sequence, row.user, row.client.as_str()), (sequence, 0, "client-3"));
        let (connect, rtt, server) = (row.connect_ms.unwrap(), row.rtt_ms.unwrap(), row.server_ms.unwrap());
        assert!(server <= rtt && connect + rtt <= row.latency_ms + 0.001, "{row:?}");
    }
    assert!(rows.is_sorted_by_key(|row| row.start_us));
}

#[test]
fn the_same_seed_gives_the_same_operations_on_another_fresh_shop() {
    let directory = tempfile::tempdir().unwrap();
    let decide = |name: &str, seed: &str| {
        let shop = Shop::start(1000);
        decisions(&run(
            &shop,
            &directory.path().join(name),
            &["--users=4", "--operations=120", "--think-time=1ms", seed],
        ))
    };
    let first = decide("a.csv", "--seed=11");
    assert_eq!(first.len(), 120);
    assert_eq!(first, decide("b.csv", "--seed=11"));
    assert_ne!(first, decide("c.csv", "--seed=12"));
    let orders: HashSet<Option<u64>> = first.iter().filter(|row| row.2 == "place_order").map(|row| row.3).collect();
    assert!(orders.len() > 3, "all orders are alike: {orders:?}");
}

#[test]
fn the_same_seed_can_be_used_twice_on_one_shop() {
    let shop = Shop::start(1000);
    let directory = tempfile::tempdir().unwrap();
    let csv = directory.path().join("s.csv");
    let args = ["--operations=8", "--think-time=0s", "--seed=5"];
    run(&shop, &csv, &args);
    let repeated = run(&shop, &csv, &args);
    let outcomes: Vec<Outcome> = repeated.iter().map(|row| row.outcome).collect();
    assert_eq!((outcomes[0], &outcomes[1..]), (Outcome::Refused, &[Outcome::Ok; 7][..]));
    assert_eq!(stop_and_count_orders(shop), 2, "each run has placed an order");
}

fn stop_and_count_orders(shop: Shop) -> i64 {
    let (database, _directory) = shop.stop();
    rusqlite::Connection::open(database)
        .unwrap()
        .query_row("SELECT count(*) FROM orders", [], |row| row.get(0))
        .unwrap()
}

#[test]
fn prepared_accounts_are_not_registered_in_the_measurement_window_and_connections_persist() {
    let shop = Shop::start(1000);
    let directory = tempfile::tempdir().unwrap();
    let args = ["--users=3", "--operations=60", "--think-time=1ms", "--accounts=prepared", "--connection=persistent"];
    let rows = run(&shop, &directory.path().join("s.csv"), &args);
    assert_eq!(rows.len(), 60);
    assert!(rows.iter().all(|row| row.operation != "register" && row.outcome == Outcome::Ok));
    let connected = rows.iter().filter(|row| row.connect_ms.is_some()).count();
    assert_eq!(connected, 6, "one connection per virtual user and port");
}

#[test]
fn products_are_added_when_one_is_out_of_stock() {
    let shop = Shop::start(1);
    let directory = tempfile::tempdir().unwrap();
    let admin = format!("--admin-username={ADMIN}");
    let args = ["--users=2", "--operations=200", "--think-time=0s", "--seed=1", "--page-size=5", &admin];
    let rows = run(&shop, &directory.path().join("s.csv"), &args);
    assert_eq!(rows.len(), 200);
    let added = rows.iter().position(|row| row.operation == "add_product").expect("nothing was added");
    let user = rows[added].user;
    let of_user: Vec<&Sample> = rows.iter().filter(|row| row.user == user).collect();
    let position = of_user.iter().position(|row| row.operation == "add_product").unwrap();
    let around: Vec<(&str, Outcome)> =
        of_user[position - 2..position + 3].iter().map(|row| (row.operation.as_str(), row.outcome)).collect();
    assert_eq!(
        around,
        [
            ("place_order", Outcome::Refused),
            ("login", Outcome::Ok),
            ("add_product", Outcome::Ok),
            ("place_order", Outcome::Ok),
            ("submit_rating", Outcome::Ok)
        ]
    );
}

#[test]
fn without_an_administrator_orders_without_stock_are_refused_and_the_workload_continues() {
    let shop = Shop::start(0);
    let directory = tempfile::tempdir().unwrap();
    let rows = run(&shop, &directory.path().join("s.csv"), &["--operations=70", "--think-time=0s"]);
    let refused = rows.iter().filter(|row| row.outcome == Outcome::Refused).count();
    let orders = rows.iter().filter(|row| row.operation == "place_order").count();
    assert_eq!((rows.len(), refused), (70, orders));
    assert!(orders >= 9, "{orders} orders in 70 operations");
}

#[test]
fn a_thousand_virtual_users_have_no_error_and_lose_no_order() {
    crate::common::raise_descriptor_limit();
    let shop = Shop::start(1_000_000);
    let directory = tempfile::tempdir().unwrap();
    let timeouts = ["--request-timeout=60s", "--connect-timeout=60s"];
    let args = [&timeouts[..], &["--users=1000", "--operations=6000", "--think-time=200ms", "--seed=2"]].concat();
    let rows = run(&shop, &directory.path().join("s.csv"), &args);
    let errors: Vec<&Sample> = rows.iter().filter(|row| row.outcome != Outcome::Ok).take(3).collect();
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(rows.iter().map(|row| row.user).collect::<HashSet<u32>>().len(), 1000);
    let mut next: HashMap<u32, u64> = HashMap::new();
    for row in &rows {
        let expected = next.entry(row.user).or_default();
        assert_eq!(row.sequence, *expected, "a row of virtual user {} is missing", row.user);
        *expected += 1;
    }
    let orders = rows.iter().filter(|row| row.operation == "place_order").count();
    assert_eq!((rows.len(), orders), (6000, 1000), "the fifth operation of each user is an order");
    assert_eq!(stop_and_count_orders(shop), 1000);
}

#[test]
fn an_unreachable_shop_is_retried_with_growing_pauses() {
    let directory = tempfile::tempdir().unwrap();
    let csv = directory.path().join("s.csv");
    let (_reserved, closed) = crate::common::closed_port();
    let mut command = client(["workload", "--think-time=0s", "--operations=5"]);
    succeed(command.args(closed).arg("--csv").arg(&csv));
    let rows = samples(&csv);
    assert_eq!(rows.len(), 5);
    assert!(rows.iter().all(|row| row.outcome == Outcome::ConnectFailed && row.operation == "register"), "{rows:?}");
    let pauses_ms: Vec<i64> = rows.windows(2).map(|pair| (pair[1].start_us - pair[0].start_us) / 1000).collect();
    for (pause_ms, min_ms) in pauses_ms.iter().zip([50, 100, 200, 400]) {
        assert!(*pause_ms >= min_ms, "{pauses_ms:?}");
    }
}

/// Starts a proxy between client and shop that drops the first response to `place_order`.
fn losing_proxy(shop: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut is_lost = false;
        for mut client in listener.incoming().flatten() {
            let request = read_frame(&mut client);
            let mut to_shop = TcpStream::connect(shop).unwrap();
            to_shop.write_all(&request).unwrap();
            let response = read_frame(&mut to_shop);
            if !is_lost && String::from_utf8_lossy(&request).contains("place_order") {
                is_lost = true;
                // Keeps the connection open until the client's timeout.
                let _ = client.read(&mut [0]);
            } else {
                client.write_all(&response).unwrap();
            }
        }
    });
    address
}

/// Reads a frame with its length prefix.
fn read_frame(stream: &mut TcpStream) -> Vec<u8> {
    let mut frame = vec![0; 4];
    stream.read_exact(&mut frame).unwrap();
    let length = u32::from_be_bytes(frame[..].try_into().unwrap()) as usize;
    frame.resize(4 + length, 0);
    stream.read_exact(&mut frame[4..]).unwrap();
    frame
}

#[test]
fn an_order_whose_response_was_lost_is_repeated_and_not_ordered_twice() {
    let shop = Shop::start(1000);
    let proxy = losing_proxy(shop.shop);
    let directory = tempfile::tempdir().unwrap();
    let csv = directory.path().join("s.csv");
    let mut command = client(["workload", "--operations=9", "--think-time=0s", "--request-timeout=1s"]);
    command.arg("--csv").arg(&csv);
    let ports = [format!("--accounts-port={}", shop.accounts.port()), format!("--shop-port={}", proxy.port())];
    succeed(command.args(ports));
    let rows = samples(&csv);
    let orders: Vec<&Sample> = rows.iter().filter(|row| row.operation == "place_order").collect();
    let outcomes: Vec<Outcome> = orders.iter().map(|row| row.outcome).collect();
    assert_eq!(outcomes, [Outcome::Timeout, Outcome::Ok]);
    assert_eq!(orders[0].request_bytes, orders[1].request_bytes);
    assert!(orders[0].rtt_ms.is_none() && orders[0].latency_ms >= 1000.0, "{:?}", orders[0]);
    let operations: Vec<&str> = rows.iter().map(|row| row.operation.as_str()).collect();
    assert_eq!(operations[5..], ["place_order", "submit_rating", "view_order_history", "logout"]);
    assert_eq!(stop_and_count_orders(shop), 1);
}
