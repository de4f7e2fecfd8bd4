//! Password hashing must not reveal by its cost which users exist, and must accept hashes of another cost.
//! `src/passwords.rs` tests that it does not delay orders: there a test can block the threads that hash.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, PASSWORD, Server};

fn login(username: &str, password: &str) -> Value {
    json!({"command": "login", "username": username, "password": password})
}

#[test]
fn accounts_made_at_another_cost_still_work() {
    let server = Server::start(&["--password-memory-kib", "16", "--password-iterations", "2"]);
    server.customer("ann");
    let folder = server.folder();
    drop(server);
    let server = Server::start_in(folder, &["--password-memory-kib", "64", "--password-iterations", "1"]);
    server.token("ann", PASSWORD);
}

/// The costs of the password hashes that a server has computed so far, from its log.
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
#[ignore = "measures"]
fn the_time_of_a_login_does_not_tell_whether_the_user_exists() {
    let server = Server::start(&["--password-memory-kib", "1024", "--password-iterations", "2", "--log", "warn"]);
    server.customer("ann");
    let mut accounts = server.on_accounts();
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    // In turns, so that whatever else the host does falls on both alike.
    for _ in 0..100 {
        known.push(time(&mut accounts, "ann"));
        unknown.push(time(&mut accounts, "bob"));
    }
    let (known, unknown) = (median(known), median(unknown));
    let ratio = known.as_secs_f64() / unknown.as_secs_f64();
    assert!((0.75..1.33).contains(&ratio), "medians: known user {known:?}, unknown user {unknown:?}");
}

fn time(accounts: &mut Client, username: &str) -> Duration {
    let start = Instant::now();
    assert_eq!(accounts.refusal(login(username, "password-2")).0, "wrong_credentials");
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
