//! Ten thousand virtual users in one client process, against a shop in another.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "suite/common.rs"]
mod common;

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use common::{Shop, client, samples, succeed};
use model::sample::{Outcome, Sample};
use nix::sys::resource::{UsageWho, getrusage};
use test_support::{requirements, run, test};

/// Maximum memory per virtual user, without the kernel's part of its sockets. Measured: 5 KiB after one or two
/// operations, 18 KiB with both persistent connections and a page of products.
const BYTES_PER_USER: u64 = 64 * 1024;
/// Virtual users with a connection per request.
const USERS: u64 = 10_000;
/// Virtual users with two persistent connections each, within a hard limit of 20,000 open files.
const USERS_WITH_TWO_CONNECTIONS: u64 = 9_800;
/// Maximum number of a client's or shop's open files other than connections.
const OTHER_FILES: u64 = 300;

fn main() -> ExitCode {
    let tests = [
        test!(ten_thousand_users_in_one_process_have_no_error_and_need_little_memory)
            .needs(&[|| requirements::open_files(USERS + OTHER_FILES)]),
        test!(almost_ten_thousand_users_with_persistent_connections_start_by_the_schedule)
            .needs(&[|| requirements::open_files(2 * USERS_WITH_TWO_CONNECTIONS + OTHER_FILES)]),
    ];
    // One at a time: each needs the whole host.
    run(1, tests.map(test_support::Test::exclusive))
}

/// Runs `users` virtual users for `operations` operations and returns their rows.
fn run_users(users: u64, operations: u64, args: &[&str]) -> Vec<Sample> {
    let shop = Shop::start_with(1_000_000, |config| {
        config.connections.max_connections = NonZeroUsize::new(30_000).unwrap();
        config.passwords.queue = NonZeroUsize::new(20_000).unwrap();
    });
    let directory = tempfile::tempdir().unwrap();
    let csv = directory.path().join("s.csv");
    // The workload ends after a number of operations, not a duration: a slow host takes longer for the same.
    let mut command = client(["workload", "--connect-timeout=5m", "--request-timeout=5m", "--seed=2", "--csv"]);
    command
        .arg(&csv)
        .args(shop.port_args())
        .arg(format!("--users={users}"))
        .arg(format!("--operations={operations}"))
        .args(args);
    succeed(&mut command);
    let rows = samples(&csv);
    assert_eq!(rows.len() as u64, operations, "every operation has its row");
    rows
}

/// Asserts that all operations succeeded and that every virtual user has performed one.
fn assert_no_errors(rows: &[Sample], users: u64) {
    let errors: Vec<&Sample> = rows.iter().filter(|row| row.outcome != Outcome::Ok).take(3).collect();
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(rows.iter().map(|row| row.user).collect::<HashSet<u32>>().len() as u64, users);
}

/// Asserts that the largest client so far has used at most the memory for so many virtual users.
fn assert_memory_limit(users: u64) {
    let peak_bytes = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss().unsigned_abs() * 1024;
    let limit = BYTES_PER_USER * users;
    assert!(peak_bytes < limit, "a client had {peak_bytes} bytes, expected less than {limit}");
}

fn ten_thousand_users_in_one_process_have_no_error_and_need_little_memory() {
    let rows = run_users(USERS, 2 * USERS, &["--think-time=3s"]);
    assert_no_errors(&rows, USERS);
    assert_memory_limit(USERS);
}

fn almost_ten_thousand_users_with_persistent_connections_start_by_the_schedule() {
    let open_loop = ["--arrival-rate=2000/s", "--arrivals=constant", "--connection=persistent"];
    let rows = run_users(USERS_WITH_TWO_CONNECTIONS, 12_000, &open_loop);
    assert_no_errors(&rows, USERS_WITH_TWO_CONNECTIONS);
    let mut starts: Vec<i64> = rows.iter().map(|row| row.start_us).collect();
    starts.sort_unstable();
    assert!(
        (0..).zip(&starts).all(|(arrival, start)| *start == 500 * arrival),
        "an intended start is not the arrival schedule's"
    );
    assert_memory_limit(USERS_WITH_TWO_CONNECTIONS);
}
