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
    command.arg(csv).args(shop.place()).args(args).env("SHOP_ADMIN_PASSWORD", ADMIN_PASSWORD);
    succeed(&mut command);
    samples(csv)
}

/// What the virtual users decided, by virtual user and sequence, without what the network did.
fn decisions(samples: &[Sample]) -> Vec<(u32, u64, String, Option<u64>)> {
    let mut decisions: Vec<_> = samples.iter().map(decision).collect();
    decisions.sort();
    decisions
}

fn decision(sample: &Sample) -> (u32, u64, String, Option<u64>) {
    // A rating names its order by the number that the shop gave it, and virtual users race for numbers.
    let bytes = sample.request_bytes.filter(|_| sample.operation != "submit_rating");
    (sample.user, sample.sequence, sample.operation.clone(), bytes)
}

#[test]
fn a_turn_is_the_originals_and_every_row_is_labelled() {
    let shop = Shop::start(1000);
    let folder = tempfile::tempdir().unwrap();
    let labels = "--client=client-3";
    let mut args: Vec<&str> = vec![labels];
    args.extend(["--operations=16", "--think-time=0s", "--seed=5"]);
    let rows = run(&shop, &folder.path().join("s.csv"), &args);
    let operations: Vec<&str> = rows.iter().map(|row| row.operation.as_str()).collect();
    let turn = "register login view_categories view_products place_order submit_rating view_order_history logout";
    assert_eq!(operations.join(" "), format!("{turn} {turn}"));
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
    let folder = tempfile::tempdir().unwrap();
    let decide = |name: &str, seed: &str| {
        let shop = Shop::start(1000);
        decisions(&run(&shop, &folder.path().join(name), &["--users=4", "--operations=120", "--think-time=1ms", seed]))
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
    let folder = tempfile::tempdir().unwrap();
    let csv = folder.path().join("s.csv");
    let args = ["--operations=8", "--think-time=0s", "--seed=5"];
    run(&shop, &csv, &args);
    let again = run(&shop, &csv, &args);
    let outcomes: Vec<Outcome> = again.iter().map(|row| row.outcome).collect();
    assert_eq!((outcomes[0], &outcomes[1..]), (Outcome::Refused, &[Outcome::Ok; 7][..]));
    assert_eq!(stop_and_count_orders(shop), 2, "the second run's order is one of its own");
}

fn stop_and_count_orders(shop: Shop) -> i64 {
    let (database, _folder) = shop.stop();
    rusqlite::Connection::open(database)
        .unwrap()
        .query_row("SELECT count(*) FROM orders", [], |row| row.get(0))
        .unwrap()
}

#[test]
fn prepared_accounts_are_not_registered_in_the_measured_time_and_connections_persist() {
    let shop = Shop::start(1000);
    let folder = tempfile::tempdir().unwrap();
    let args = ["--users=3", "--operations=60", "--think-time=1ms", "--accounts=prepared", "--connection=persistent"];
    let rows = run(&shop, &folder.path().join("s.csv"), &args);
    assert_eq!(rows.len(), 60);
    assert!(rows.iter().all(|row| row.operation != "register" && row.outcome == Outcome::Ok));
    let connected = rows.iter().filter(|row| row.connect_ms.is_some()).count();
    assert_eq!(connected, 6, "one connection per virtual user and port");
}

#[test]
fn products_are_added_when_the_stock_runs_out() {
    let shop = Shop::start(1);
    let folder = tempfile::tempdir().unwrap();
    let admin = format!("--admin-username={ADMIN}");
    let args = ["--users=2", "--operations=200", "--think-time=0s", "--seed=1", "--page-size=5", &admin];
    let rows = run(&shop, &folder.path().join("s.csv"), &args);
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
fn without_an_administrator_sold_out_products_are_refused_and_shopping_goes_on() {
    let shop = Shop::start(0);
    let folder = tempfile::tempdir().unwrap();
    let rows = run(&shop, &folder.path().join("s.csv"), &["--operations=70", "--think-time=0s"]);
    let refused = rows.iter().filter(|row| row.outcome == Outcome::Refused).count();
    let orders = rows.iter().filter(|row| row.operation == "place_order").count();
    assert_eq!((rows.len(), refused), (70, orders));
    assert!(orders >= 9, "{orders} turns in 70 operations");
}

#[test]
fn a_thousand_shoppers_make_no_error_and_lose_no_order() {
    crate::common::raise_descriptor_limit();
    let shop = Shop::start(1_000_000);
    let folder = tempfile::tempdir().unwrap();
    let patience = ["--request-timeout=60s", "--connect-timeout=60s"];
    let args = [&patience[..], &["--users=1000", "--operations=6000", "--think-time=200ms", "--seed=2"]].concat();
    let rows = run(&shop, &folder.path().join("s.csv"), &args);
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
fn an_absent_shop_is_tried_again_and_again_with_longer_pauses() {
    let folder = tempfile::tempdir().unwrap();
    let csv = folder.path().join("s.csv");
    let (_reserved, closed) = crate::common::closed_port();
    let mut command = client(["workload", "--think-time=0s", "--operations=5"]);
    succeed(command.args(closed).arg("--csv").arg(&csv));
    let rows = samples(&csv);
    assert_eq!(rows.len(), 5);
    assert!(rows.iter().all(|row| row.outcome == Outcome::ConnectFailed && row.operation == "register"), "{rows:?}");
    let think_time: Vec<i64> = rows.windows(2).map(|pair| (pair[1].start_us - pair[0].start_us) / 1000).collect();
    for (pause, least) in think_time.iter().zip([50, 100, 200, 400]) {
        assert!(*pause >= least, "{think_time:?}");
    }
}

/// Stands between the client and the shop and keeps the first answer to `place_order` for itself.
fn losing_proxy(shop: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut is_lost = false;
        for mut client in listener.incoming().flatten() {
            let request = read_frame(&mut client);
            let mut onward = TcpStream::connect(shop).unwrap();
            onward.write_all(&request).unwrap();
            let response = read_frame(&mut onward);
            if !is_lost && String::from_utf8_lossy(&request).contains("place_order") {
                is_lost = true;
                // Open and silent until the client gives up.
                let _ = client.read(&mut [0]);
            } else {
                client.write_all(&response).unwrap();
            }
        }
    });
    address
}

/// A frame with its prefix.
fn read_frame(stream: &mut TcpStream) -> Vec<u8> {
    let mut frame = vec![0; 4];
    stream.read_exact(&mut frame).unwrap();
    let length = u32::from_be_bytes(frame[..].try_into().unwrap()) as usize;
    frame.resize(4 + length, 0);
    stream.read_exact(&mut frame[4..]).unwrap();
    frame
}

#[test]
fn an_order_whose_answer_was_lost_is_sent_again_and_not_ordered_twice() {
    let shop = Shop::start(1000);
    let proxy = losing_proxy(shop.shop);
    let folder = tempfile::tempdir().unwrap();
    let csv = folder.path().join("s.csv");
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
