//! The cost of password hashing does not reveal which users exist, hashes with another cost are replaced, and failed
//! logins are limited.
//! `src/shop.rs` tests that hashing does not delay orders: there a test can block the hashing threads.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, PASSWORD, Server, error, refusal};

fn login(username: &str, password: &str) -> Value {
    json!({"command": "login", "username": username, "password": password})
}

#[test]
fn a_login_replaces_a_hash_with_another_cost() {
    let server = Server::start(&["--password-memory-kib", "16", "--password-iterations", "2"]);
    server.customer("ann");
    let directory = server.directory();
    drop(server);
    let log = ["--log", "server::passwords=trace", "--log-format", "json"];
    let cost = ["--password-memory-kib", "64", "--password-iterations", "1"];
    fs::remove_file(directory.path().join("log")).unwrap();
    let server = Server::start_in(directory, &[cost.as_slice(), &log].concat());
    let (before, old, new) = (costs(&server).len(), "m=16,t=2,p=1", "m=64,t=1,p=1");
    assert_eq!(server.on_accounts().refusal(login("ann", "password-2")).0, "wrong_credentials");
    assert_eq!(costs(&server)[before..], [old]);
    server.token("ann", PASSWORD);
    assert_eq!(costs(&server)[before..], [old, old, new]);
    server.token("ann", PASSWORD);
    assert_eq!(costs(&server)[before..], [old, old, new, new]);
}

#[test]
fn after_failed_logins_an_account_and_an_address_must_wait() {
    let server = Server::start(&["--max-failed-logins", "2"]);
    let token = server.customer("ann");
    server.customer("bob");
    let from = |last| Client::connect_from([127, 0, 0, last], server.accounts);
    let guess = |number| login(&format!("user{number}"), "password-2");
    must_wait(&mut from(2), |_| login("ann", "password-2"));
    from(3).ok(login("bob", PASSWORD));
    // A login from this address has succeeded before. The success clears the account's failures.
    server.on_accounts().ok(login("ann", PASSWORD));
    from(4).ok(login("ann", PASSWORD));
    must_wait(&mut from(5), guess);
    assert_eq!(from(5).refusal(login("bob", PASSWORD)).0, "overloaded");
    from(6).ok(login("bob", PASSWORD));
    must_wait(&mut from(7), |_| {
        json!({"command": "change_password", "token": token, "current_password": "password-2",
               "new_password": "password-3"})
    });
}

/// Fails until the client must wait. On a host so slow that a delay ends before the next attempt, the next delay is longer.
fn must_wait(client: &mut Client, attempt: impl Fn(u32) -> Value) {
    for number in 0..30 {
        let response = client.call(attempt(number));
        if response["error"]["code"] != "wrong_credentials" {
            assert_eq!(refusal(&response), error("overloaded", ""));
            let message = response["error"]["message"].as_str().unwrap();
            assert!(number > 2 && message.starts_with("too many failed logins; try again in "), "{number}: {message}");
            return;
        }
    }
    panic!("30 failed logins without a delay");
}

/// Returns the costs of the password hashes in a server's log.
fn costs(server: &Server) -> Vec<String> {
    let lines = server.log();
    let events = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let hashes = events.filter(|event| event["message"] == "password hash computed");
    hashes.map(|event| event["cost"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_login_computes_one_hash_whether_the_user_exists_or_not() {
    let cost = ["--password-memory-kib", "48", "--password-iterations", "3", "--password-parallelism", "2"];
    let log = ["--log", "server::passwords=trace", "--log-format", "json"];
    let server = Server::start(&[cost.as_slice(), &log].concat());
    server.customer("ann");
    let mut accounts = server.on_accounts();
    let before = costs(&server).len();
    for (count, username) in (1..).zip(["ann", "bob", "ann", "bob"]) {
        assert_eq!(accounts.refusal(login(username, "password-2")).0, "wrong_credentials");
        assert_eq!(costs(&server)[before..], vec!["m=48,t=3,p=2"; count], "{username}");
    }
}

#[test]
#[ignore = "measurement"]
fn the_time_of_a_login_does_not_reveal_whether_the_user_exists() {
    let server = Server::start(&[
        "--password-memory-kib",
        "1024",
        "--password-iterations",
        "2",
        "--log",
        "warn",
        "--max-failed-logins",
        "0",
    ]);
    server.customer("ann");
    let mut accounts = server.on_accounts();
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    // Alternately, so that other load of the host affects both alike.
    for _ in 0..100 {
        known.push(login_time(&mut accounts, "ann"));
        unknown.push(login_time(&mut accounts, "bob"));
    }
    let (known, unknown) = (median(known), median(unknown));
    let ratio = known.as_secs_f64() / unknown.as_secs_f64();
    assert!((0.75..1.33).contains(&ratio), "medians: known user {known:?}, unknown user {unknown:?}");
}

fn login_time(accounts: &mut Client, username: &str) -> Duration {
    let start = Instant::now();
    assert_eq!(accounts.refusal(login(username, "password-2")).0, "wrong_credentials");
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
