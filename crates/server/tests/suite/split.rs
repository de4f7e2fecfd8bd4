//! How a response splits the server's time: into waiting for threads, the database, and the rest.

use std::collections::HashSet;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{Client, PASSWORD, Server, order};

/// How long the tests make things wait; what they assert leaves a third of it to a slow machine.
const HELD: Duration = Duration::from_millis(300);
const CLEARLY_US: u64 = 200_000;

/// `server_us`, `queue_us` and `disk_us` of a response, whose parts must not be more than the whole.
fn times(response: &Value) -> (u64, u64, u64) {
    let field = |name: &str| response[name].as_u64().unwrap_or_else(|| panic!("no {name}: {response}"));
    let (server, queue, disk) = (field("server_us"), field("queue_us"), field("disk_us"));
    assert!(queue + disk <= server, "{response}");
    (server, queue, disk)
}

fn login(username: &str) -> Value {
    json!({"command": "login", "username": username, "password": PASSWORD})
}

#[test]
fn the_parts_are_never_more_than_the_whole_and_no_exchange_comes_twice() {
    let server = Server::start(&["--log", "warn"]);
    let token = server.shopper("ann");
    let requests = [
        json!({"command": "view_categories"}),
        json!({"command": "view_products", "page_size": 100}),
        json!({"command": "view_products", "category": "None such"}),
        order(&token, 1, 1),
        order(&token, 1, 1_000_000),
        order("0000000000000000000000000000000000000000000000000000000000000000", 1, 1),
        json!({"command": "view_order_history", "token": token}),
        json!({"command": "login"}),
    ];
    let responses: Vec<Value> = std::thread::scope(|scope| {
        let shoppers: Vec<_> = (0..8)
            .map(|shift| {
                let (requests, mut client) = (&requests, server.on_shop());
                scope.spawn(move || {
                    let turns = requests.iter().cycle().skip(shift).take(200);
                    turns.map(|request| client.call(request.clone())).collect::<Vec<_>>()
                })
            })
            .collect();
        shoppers.into_iter().flat_map(|shopper| shopper.join().unwrap()).collect()
    });
    let exchanges: HashSet<u64> = responses.iter().map(|response| response["exchange"].as_u64().unwrap()).collect();
    assert_eq!(exchanges.len(), 8 * 200);
    for response in responses {
        times(&response);
    }
}

#[test]
fn what_never_reached_the_database_spent_nothing_there() {
    let server = Server::start(&[]);
    let mut shop = server.on_shop();
    for request in [json!({"command": "none_such"}), json!({"command": "view_products", "page": 0}), login("ann")] {
        let response = shop.call(request);
        let (_, queue, disk) = times(&response);
        assert_eq!((&response["ok"], queue, disk), (&json!(false), 0, 0), "{response}");
    }
    for request in [json!({"command": "view_categories"}), json!({"command": "view_products"})] {
        let response = shop.call(request);
        assert!(times(&response).2 > 0, "{response}");
    }
}

#[test]
fn hashing_is_neither_waiting_nor_the_database_but_waiting_for_a_thread_that_hashes_is() {
    let costly = ["--password-memory-kib", "16384", "--password-iterations", "40", "--password-workers", "1"];
    let server = Server::start(&costly);
    server.shopper("ann");
    let (mut one, mut other) = (server.on_accounts(), server.on_accounts());
    let (hash, queue, disk) = times(&one.call(login("ann")));
    assert!(disk > 0 && hash > 20 * (queue + disk), "{hash} µs, of which {queue} queue and {disk} disk");
    one.send(&login("ann"));
    other.send(&login("ann"));
    let both = [times(&one.receive()), times(&other.receive())];
    let waited = both.iter().map(|(_, queue, _)| *queue).max().unwrap();
    let work = both.iter().map(|(server, queue, disk)| server - queue - disk).min().unwrap();
    assert!(waited > work / 2, "two logins and one thread: {both:?}");
    assert!(work > hash / 3, "the hash is in each of them: {both:?}, alone {hash} µs");
}

/// Holds the database's write lock, as a backup program might, for [`HELD`] after `sent` was done.
fn while_locked(server: &Server, sent: impl FnOnce()) {
    let lock = Connection::open(server.database()).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    sent();
    std::thread::sleep(HELD);
    lock.execute_batch("ROLLBACK").unwrap();
}

#[test]
fn a_locked_database_is_disk_for_who_meets_the_lock_and_queue_for_who_waits_behind() {
    let server = Server::start(&["--max-batch", "1"]);
    let token = server.shopper("ann");
    let mut clients = [server.on_shop(), server.on_shop()];
    while_locked(&server, || clients.iter_mut().for_each(|client| client.send(&order(&token, 1, 1))));
    let mut writes = clients.each_mut().map(|client| times(&client.receive()));
    writes.sort_by_key(|(_, queue, _)| *queue);
    let [(_, first_queue, first_disk), (_, second_queue, second_disk)] = writes;
    assert!(first_disk > CLEARLY_US && first_queue < CLEARLY_US / 2, "{writes:?}");
    assert!(second_queue > CLEARLY_US && second_disk < CLEARLY_US / 2, "{writes:?}");
}

#[test]
fn a_commit_that_is_shared_is_disk_for_all_who_share_it() {
    let server = Server::start(&[]);
    let token = server.shopper("ann");
    // The first one meets the lock alone; those behind it wait for the writer and then share a transaction.
    let mut clients: Vec<Client> = (0..5).map(|_| server.on_shop()).collect();
    while_locked(&server, || clients.iter_mut().for_each(|client| client.send(&order(&token, 1, 1))));
    for (server, queue, disk) in clients.iter_mut().map(|client| times(&client.receive())) {
        assert!(disk > 0 && queue + disk > CLEARLY_US, "{server} µs, of which {queue} queue and {disk} disk");
    }
}

#[test]
fn reads_beside_a_locked_database_do_not_count_the_lock() {
    let server = Server::start(&[]);
    let mut shop = server.on_shop();
    while_locked(&server, || {
        for _ in 0..20 {
            let (server, _, _) = times(&shop.call(json!({"command": "view_products"})));
            assert!(server < CLEARLY_US, "{server} µs");
        }
    });
}
