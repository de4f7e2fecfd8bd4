//! What hashing passwords must not do: starve orders, or tell who has an account by its time.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, PASSWORD, Server, order};

fn login(username: &str, password: &str) -> Value {
    json!({"command": "login", "username": username, "password": password})
}

#[test]
fn a_flood_of_logins_is_refused_and_delays_no_order() {
    let server = Server::start(&[]);
    let token = server.shopper("ann");
    let folder = server.folder();
    drop(server);
    // Now an unknown user's login takes long, and one may be done while one waits.
    let slow = ["--password-memory-kib", "65536", "--password-iterations", "4", "--password-parallelism", "1"];
    let queue = ["--password-workers", "1", "--password-queue", "1"];
    let server = Server::start_in(folder, &[slow.as_slice(), &queue].concat());
    let mut logins: Vec<Client> = (0..8).map(|_| server.on_accounts()).collect();
    for client in &mut logins {
        client.send(&login("nobody", PASSWORD));
    }
    let mut shop = server.on_shop();
    for _ in 0..10 {
        shop.ok(order(&token, 1, 1));
    }
    let waiting = logins.iter_mut().filter_map(|client| client.is_unanswered().then_some(())).count();
    assert!(waiting >= 1, "the orders waited for the logins");
    let mut codes: Vec<String> =
        logins.iter_mut().map(|client| client.receive()["error"]["code"].as_str().unwrap().to_owned()).collect();
    codes.sort();
    assert!(codes.iter().filter(|code| *code == "overloaded").count() >= 6, "{codes:?}");
    assert_eq!(codes.last().unwrap(), "wrong_credentials");
}

#[test]
fn accounts_made_at_another_cost_still_work() {
    let server = Server::start(&["--password-memory-kib", "16", "--password-iterations", "2"]);
    server.shopper("ann");
    let folder = server.folder();
    drop(server);
    let server = Server::start_in(folder, &["--password-memory-kib", "64", "--password-iterations", "1"]);
    server.token("ann", PASSWORD);
}

#[test]
fn the_time_of_a_login_does_not_tell_whether_the_user_exists() {
    let server = Server::start(&["--password-memory-kib", "1024", "--password-iterations", "2", "--log", "warn"]);
    server.shopper("ann");
    let mut accounts = server.on_accounts();
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    // In turns, so that whatever else the machine does falls on both alike.
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
