//! The cost of password hashing does not reveal which users exist, and hashes with another cost are accepted.
//! `src/shop.rs` tests that hashing does not delay orders: there a test can block the hashing threads.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, PASSWORD, Server};

fn login(username: &str, password: &str) -> Value {
    json!({"command": "login", "username": username, "password": password})
}

#[test]
fn accounts_created_with_another_cost_still_work() {
    let server = Server::start(&["--password-memory-kib", "16", "--password-iterations", "2"]);
    server.customer("ann");
    let directory = server.directory();
    drop(server);
    let server = Server::start_in(directory, &["--password-memory-kib", "64", "--password-iterations", "1"]);
    server.token("ann", PASSWORD);
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
    let server = Server::start(&["--password-memory-kib", "1024", "--password-iterations", "2", "--log", "warn"]);
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
