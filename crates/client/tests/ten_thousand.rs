//! Ten thousand shoppers in one client process, against a shop in another.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and tells by printing")]

mod common;

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::time::Instant;

use common::{Shop, client, samples, succeed};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use shop_client::sample::{Outcome, Sample};

/// Memory that a shopper may take, its sockets in the kernel aside. Measured: 5 KiB after one or two operations, 18 KiB
/// when it keeps both connections and a page of products.
const BYTES_A_SHOPPER: i64 = 64 * 1024;

/// As many as ten thousand, when client and shop can each have `sockets` for every one of them.
fn as_many_as_possible(sockets: u64) -> u64 {
    common::raise_descriptor_limit();
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let possible = (limit.saturating_sub(300) / sockets).min(10_000);
    if possible < 10_000 {
        println!(
            "skipped: with {limit} open files only {possible} of 10000 shoppers can have {sockets} connections each"
        );
    }
    possible
}

/// Lets `users` shoppers try `operations` operations; gives a row of each.
fn crowd(users: u64, operations: u64, args: &[&str]) -> Vec<Sample> {
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
    let began = Instant::now();
    let output = succeed(&mut command);
    println!("{:?}: {}", began.elapsed(), String::from_utf8_lossy(&output.stderr));
    let rows = samples(&csv);
    assert_eq!(rows.len() as u64, operations, "every operation has its row");
    rows
}

fn assert_all_shopped_well(rows: &[Sample], users: u64) {
    let bad: Vec<&Sample> = rows.iter().filter(|row| row.outcome != Outcome::Ok).take(3).collect();
    assert!(bad.is_empty(), "{bad:?}");
    assert_eq!(rows.iter().map(|row| row.user).collect::<HashSet<u32>>().len() as u64, users);
}

/// One after the other: each needs the whole machine, and the memory is that of the greatest child so far.
#[test]
fn ten_thousand_shoppers_in_one_process_make_no_error_and_little_memory() {
    let users = as_many_as_possible(1);
    let rows = crowd(users, 2 * users, &["--think-time=3s"]);
    assert_all_shopped_well(&rows, users);

    let users = as_many_as_possible(2);
    let open_loop = ["--arrival-rate=2000/s", "--arrivals=constant", "--connection=persistent"];
    let rows = crowd(users, 12_000, &open_loop);
    assert_all_shopped_well(&rows, users);
    let mut starts: Vec<i64> = rows.iter().map(|row| row.start_us).collect();
    starts.sort_unstable();
    assert!(
        (0..).zip(&starts).all(|(arrival, start)| *start == 500 * arrival),
        "an intended start is not the timetable's"
    );

    let peak_bytes = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss() * 1024;
    println!("the greater of both clients had {} MiB", peak_bytes / (1 << 20));
    assert!(peak_bytes < BYTES_A_SHOPPER * 10_000, "{peak_bytes} bytes");
}
