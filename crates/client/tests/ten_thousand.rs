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

/// Memory that a virtual user may take, its sockets in the kernel aside. Measured: 5 KiB after one or two operations,
/// 18 KiB when it keeps both connections and a page of products.
const BYTES_PER_USER: u64 = 64 * 1024;
/// Virtual users with a connection at a time.
const USERS: u64 = 10_000;
/// Virtual users with two connections each, within a hard limit of 20,000 open files.
const USERS_WITH_TWO_CONNECTIONS: u64 = 9_800;
/// Open files of a client or a shop that are no connections.
const OTHER_FILES: u64 = 300;

fn main() -> ExitCode {
    let tests = [
        test!(ten_thousand_shoppers_in_one_process_make_no_error_and_little_memory)
            .needs(&[|| requirements::open_files(USERS + OTHER_FILES)]),
        test!(almost_ten_thousand_kept_pairs_of_connections_begin_by_the_timetable)
            .needs(&[|| requirements::open_files(2 * USERS_WITH_TWO_CONNECTIONS + OTHER_FILES)]),
    ];
    // One at a time: each needs the whole host.
    run(1, tests.map(test_support::Test::exclusive))
}

/// Lets `users` virtual users try `operations` operations; gives a row of each.
fn group(users: u64, operations: u64, args: &[&str]) -> Vec<Sample> {
    let shop = Shop::start_with(1_000_000, |config| {
        config.connections.max_connections = NonZeroUsize::new(30_000).unwrap();
        config.passwords.queue = NonZeroUsize::new(20_000).unwrap();
    });
    let folder = tempfile::tempdir().unwrap();
    let csv = folder.path().join("s.csv");
    // The workload ends by its count of operations, not by time: a busy host takes longer and does the same.
    let mut command = client(["workload", "--connect-timeout=5m", "--request-timeout=5m", "--seed=2", "--csv"]);
    command
        .arg(&csv)
        .args(shop.place())
        .arg(format!("--users={users}"))
        .arg(format!("--operations={operations}"))
        .args(args);
    succeed(&mut command);
    let rows = samples(&csv);
    assert_eq!(rows.len() as u64, operations, "every operation has its row");
    rows
}

fn assert_all_shopped_well(rows: &[Sample], users: u64) {
    let bad: Vec<&Sample> = rows.iter().filter(|row| row.outcome != Outcome::Ok).take(3).collect();
    assert!(bad.is_empty(), "{bad:?}");
    assert_eq!(rows.iter().map(|row| row.user).collect::<HashSet<u32>>().len() as u64, users);
}

/// The greatest client so far took no more memory than so many virtual users may.
fn assert_little_memory(users: u64) {
    let peak_bytes = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss().unsigned_abs() * 1024;
    let limit = BYTES_PER_USER * users;
    assert!(peak_bytes < limit, "a client had {peak_bytes} bytes, expected less than {limit}");
}

fn ten_thousand_shoppers_in_one_process_make_no_error_and_little_memory() {
    let rows = group(USERS, 2 * USERS, &["--think-time=3s"]);
    assert_all_shopped_well(&rows, USERS);
    assert_little_memory(USERS);
}

fn almost_ten_thousand_kept_pairs_of_connections_begin_by_the_timetable() {
    let open_loop = ["--arrival-rate=2000/s", "--arrivals=constant", "--connection=persistent"];
    let rows = group(USERS_WITH_TWO_CONNECTIONS, 12_000, &open_loop);
    assert_all_shopped_well(&rows, USERS_WITH_TWO_CONNECTIONS);
    let mut starts: Vec<i64> = rows.iter().map(|row| row.start_us).collect();
    starts.sort_unstable();
    assert!(
        (0..).zip(&starts).all(|(arrival, start)| *start == 500 * arrival),
        "an intended start is not the arrival schedule's"
    );
    assert_little_memory(USERS_WITH_TWO_CONNECTIONS);
}
