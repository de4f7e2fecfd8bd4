//! SIGTERM, and requests delayed by a locked database.

use std::net::TcpStream;

use nix::sys::signal::Signal;
use protocol::encode_frame;
use rusqlite::Connection;
use serde_json::json;
use std::io::Write;

use crate::support::{Client, PASSWORD, Server, error, eventually, order, refusal};

/// Takes the database's write lock, as a backup program might.
fn lock(server: &Server) -> Connection {
    let connection = Connection::open(server.database()).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    connection
}

#[test]
fn reads_are_executed_while_writes_wait() {
    let server = Server::start(&[]);
    let token = server.customer("ann");
    let lock = lock(&server);
    let mut writing = server.on_shop();
    writing.send(&order(&token, 1, 1));
    let mut reading = server.on_shop();
    // Few, for slow hosts: the write fails after 5 s of waiting for the lock.
    for _ in 0..10 {
        reading.ok(json!({"command": "view_products"}));
        reading.ok(json!({"command": "view_order_history", "token": token}));
    }
    assert!(writing.has_no_response());
    lock.execute_batch("ROLLBACK").unwrap();
    assert_eq!(writing.receive()["ok"], true);
}

#[test]
fn sigterm_completes_requests_in_flight_and_the_exit_code_is_0() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = Server::start(&[]);
        let token = server.customer("ann");
        let lock = lock(&server);
        let mut in_flight = server.on_shop();
        in_flight.send(&order(&token, 1, 1));
        let mut incomplete = server.on_shop();
        incomplete.ok(json!({"command": "view_categories"}));
        incomplete.stream.write_all(&encode_frame(b"{}").unwrap()[..5]).unwrap();
        let mut idle = server.on_shop();
        idle.ok(json!({"command": "view_categories"}));
        server.signal(signal);
        eventually("the port is closed", || TcpStream::connect(server.shop).is_err());
        idle.assert_closed();
        assert_eq!(refusal(&incomplete.receive()), error("shutting_down", ""));
        lock.execute_batch("ROLLBACK").unwrap();
        drop(lock);
        assert_eq!(in_flight.receive()["ok"], true);
        in_flight.assert_closed();
        drop((in_flight, incomplete));
        assert_eq!(server.wait().code(), Some(0), "{}", server.log());
        let wal = server.database().with_extension("db-wal");
        assert!(!wal.exists() || wal.metadata().unwrap().len() == 0, "the log was not emptied");
        assert_eq!(server.check()["orders"], 1);
    }
}

/// Receives responses until the connection is closed. Returns how many succeeded and how many got `shutting_down`.
fn count_responses(client: &mut Client) -> (usize, usize) {
    let (mut done, mut refused) = (0, 0);
    while let Some(response) = client.receive_or_end().unwrap() {
        match response["ok"] == true {
            true => done += 1,
            false => {
                assert_eq!(refusal(&response), error("shutting_down", ""));
                refused += 1;
            }
        }
    }
    (done, refused)
}

#[test]
fn every_request_that_arrived_before_a_shutdown_is_executed() {
    const ORDERS: usize = 400;
    let mut server = Server::start(&["--log", "warn"]);
    let token = server.customer("ann");
    let frame = encode_frame(order(&token, 1, 1).to_string().as_bytes()).unwrap();
    let mut client = server.on_shop();
    client.stream.write_all(&frame.repeat(ORDERS)).unwrap();
    assert_eq!(client.receive()["ok"], true);
    server.signal(Signal::SIGTERM);
    assert_eq!(count_responses(&mut client), (ORDERS - 1, 0));
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(server.check()["orders"], ORDERS);
}

#[test]
fn after_the_grace_period_every_request_gets_a_response_even_while_the_database_is_locked() {
    let mut server = Server::start(&["--shutdown-grace", "200ms"]);
    let token = server.customer("ann");
    let lock = lock(&server);
    let frame = encode_frame(order(&token, 1, 1).to_string().as_bytes()).unwrap();
    let mut client = server.on_shop();
    client.stream.write_all(&frame.repeat(50)).unwrap();
    server.signal(Signal::SIGTERM);
    assert_eq!(count_responses(&mut client), (0, 50));
    assert_eq!(server.wait().code(), Some(0));
    drop(lock);
    assert_eq!(server.check()["orders"], 0);
}

#[test]
fn what_was_done_when_the_grace_period_ends_is_answered() {
    const USERS: usize = 300;
    // One hash fills 4 MiB: all together take longer than the grace period, also on a fast host.
    let costs = ["--password-memory-kib", "4096", "--password-iterations", "4", "--shutdown-grace", "100ms"];
    let mut server = Server::start(&[costs.as_slice(), &["--password-workers", "1", "--log", "warn"]].concat());
    let register = |index: usize| json!({"command": "register", "username": index.to_string(), "password": PASSWORD});
    let frames = (0..USERS).flat_map(|index| encode_frame(register(index).to_string().as_bytes()).unwrap());
    let mut client = server.on_accounts();
    client.stream.write_all(&frames.collect::<Vec<u8>>()).unwrap();
    eventually("an account was created", || server.check()["users"].as_u64() > Some(1));
    server.signal(Signal::SIGTERM);
    let (done, refused) = count_responses(&mut client);
    assert_eq!(done + refused, USERS);
    assert!(refused > 0, "the hashes did not take longer than the grace period");
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(server.check()["users"], done + 1, "the administrator, and one per response");
}
