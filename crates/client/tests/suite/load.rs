//! Starts of operations: open loops, warm-up, and the same workload for the same seed.
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::common::{Shop, both_ports, client, closed_port, samples};
use model::messages::workload::Event;
use model::sample::{Outcome, Phase, Sample};

/// Starts the client in driver mode and sends the start signal.
fn start(csv: &Path, ports: &[String], args: &[&str]) -> Child {
    let mut command = client(["workload", "--control", "--csv"]);
    command.arg(csv).args(ports).args(args);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    child
}

fn events(child: &mut Child) -> impl Iterator<Item = Event> + use<> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap())
}

/// Runs the client to its end. Returns the rows and the last event.
fn run(ports: &[String], args: &[&str]) -> (Vec<Sample>, Event) {
    let directory = tempfile::tempdir().unwrap();
    let csv = directory.path().join("s.csv");
    let mut child = start(&csv, ports, args);
    let last = events(&mut child).last().unwrap();
    assert!(child.wait().unwrap().success());
    (samples(&csv), last)
}

/// Starts a shop that processes requests sequentially and refuses each after `time`.
fn slow_shop(time: Duration) -> [String; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let refusal = br#"{"ok":false,"server_us":1,"error":{"code":"internal","message":"no"}}"#;
        for mut connection in listener.incoming().flatten() {
            let mut prefix = [0; 4];
            connection.read_exact(&mut prefix).unwrap();
            let mut payload = vec![0; u32::from_be_bytes(prefix) as usize];
            connection.read_exact(&mut payload).unwrap();
            thread::sleep(time);
            connection.write_all(&protocol::encode_frame(refusal).unwrap()).unwrap();
        }
    });
    both_ports(address)
}

#[test]
fn in_an_open_loop_a_slow_shop_delays_no_intended_start_and_the_wait_counts() {
    let ports = slow_shop(Duration::from_millis(10));
    let args = ["--arrival-rate=200/s", "--arrivals=constant", "--arrival-offset=3ms", "--duration=100ms"];
    let (rows, last) = run(&ports, &args);
    let starts: Vec<i64> = rows.iter().map(|row| row.start_us).collect();
    assert_eq!(starts, (0..20).map(|arrival| 3000 + 5000 * arrival).collect::<Vec<i64>>());
    for (arrival, row) in (0..20).zip(&rows) {
        assert_eq!((row.outcome, row.sequence), (Outcome::Refused, arrival));
        // One virtual user performs half as many operations as arrive: each waits 5 ms longer than the one before.
        let min = 10.0 + 5.0 * arrival as f64;
        assert!(row.latency_ms >= min, "arrival {arrival}: {} ms, minimum {min}", row.latency_ms);
    }
    let Event::Done { operations, errors, unfinished, arrivals: Some(arrivals), .. } = last else { panic!("{last:?}") };
    assert_eq!((operations, errors, unfinished), (20, 20, 0));
    assert_eq!(arrivals.on_schedule + arrivals.queued, 20);
    assert!(arrivals.queued > 0 && arrivals.max_backlog > 0, "{arrivals:?}");
}

#[test]
fn in_an_open_loop_users_do_not_back_off() {
    let (_reserved, closed) = closed_port();
    // With back-off, three users could not perform 50 operations within the grace period.
    let (rows, last) = run(&closed, &["--arrival-rate=200/s", "--arrivals=constant", "--duration=250ms", "--users=3"]);
    assert!(rows.iter().all(|row| row.outcome == Outcome::ConnectFailed));
    let mut starts: Vec<i64> = rows.iter().map(|row| row.start_us).collect();
    starts.sort_unstable();
    assert_eq!(starts, (0..50).map(|arrival| 5000 * arrival).collect::<Vec<i64>>());
    assert!(matches!(last, Event::Done { errors: 50, unfinished: 0, .. }), "{last:?}");
}

#[test]
fn arrivals_that_have_not_started_at_a_stop_are_counted() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let csv = directory.path().join("s.csv");
    let ports = both_ports(silent.local_addr().unwrap());
    let args = ["--arrival-rate=100/s", "--duration=10m", "--users=2", "--request-timeout=1h"];
    let mut child = start(&csv, &ports, &args);
    let mut events = events(&mut child);
    // The second progress comes half a second after the first.
    assert_eq!(events.by_ref().filter(|event| matches!(event, Event::Progress { .. })).nth(1).map(drop), Some(()));
    child.stdin = None;
    let last = events.last().unwrap();
    assert!(child.wait().unwrap().success());
    let Event::Done { operations: 0, unfinished, arrivals: Some(arrivals), .. } = last else { panic!("{last:?}") };
    assert_eq!((unfinished, arrivals.on_schedule), (2 + arrivals.max_backlog, 2), "two were in flight");
    assert!(arrivals.max_backlog > 0, "{arrivals:?}");
    assert!(samples(&csv).is_empty());
}

#[test]
fn the_warm_up_is_marked_in_rows_and_counted_separately() {
    let shop = Shop::start(100_000);
    for load in [["--think-time=5ms", "--users=4"], ["--arrival-rate=200/s", "--users=20"]] {
        let (rows, last) = run(&shop.port_args(), &[&load[..], &["--warm-up=200ms", "--duration=300ms"]].concat());
        // Only an open loop's intended starts are known in advance; those of a closed loop depend on the host.
        let is_open = load[0].starts_with("--arrival");
        let end = if is_open { 300_000 } else { i64::MAX };
        for row in &rows {
            let is_warm_up = (-200_000..0).contains(&row.start_us);
            assert!(is_warm_up || (0..end).contains(&row.start_us), "{row:?}");
            assert_eq!(row.phase, if is_warm_up { Phase::WarmUp } else { Phase::Measured }, "{row:?}");
        }
        let warm = rows.iter().filter(|row| row.phase == Phase::WarmUp).count() as u64;
        let Event::Done { operations, errors: 0, warm_up, .. } = last else { panic!("{load:?}: {last:?}") };
        assert_eq!((operations, warm_up), (rows.len() as u64, warm), "{load:?}");
        assert!(!is_open || (warm > 0 && operations > warm), "{load:?}: {warm} of {operations}");
    }
}

#[test]
fn operations_are_counted_after_the_warm_up() {
    let shop = Shop::start(100_000);
    for load in [["--think-time=5ms", "--users=4"], ["--arrival-rate=200/s", "--users=20"]] {
        let (rows, _) = run(&shop.port_args(), &[&load[..], &["--warm-up=100ms", "--operations=41"]].concat());
        let measured = rows.iter().filter(|row| row.phase == Phase::Measured).count();
        assert_eq!(measured, 41, "{load:?}");
        // The schedule has about 20 arrivals in the warm-up; in a closed loop their number depends on the host.
        assert!(!load[0].starts_with("--arrival") || rows.len() > 41, "{load:?}: {} rows", rows.len());
    }
}

type Decision = (String, Option<u64>);

/// Runs the client on a new shop. Returns each virtual user's operations in order, and all intended starts in order.
fn on_a_fresh_shop(args: &[&str]) -> (BTreeMap<u32, Vec<Decision>>, Vec<i64>) {
    let shop = Shop::start(1_000_000);
    number_orders_from_100_001(&shop);
    let (mut rows, last) = run(&shop.port_args(), args);
    assert!(matches!(last, Event::Done { errors: 0, unfinished: 0, .. }), "{last:?}");
    rows.sort_by_key(|row| (row.user, row.sequence));
    let mut decisions: BTreeMap<u32, Vec<Decision>> = BTreeMap::new();
    for row in &rows {
        decisions.entry(row.user).or_default().push((row.operation.clone(), row.request_bytes));
    }
    let mut starts: Vec<i64> = rows.iter().map(|row| row.start_us).collect();
    starts.sort_unstable();
    (decisions, starts)
}

/// Makes the numbers of all orders equally long: ratings contain them, and which user gets which number is random.
fn number_orders_from_100_001(shop: &Shop) {
    // After the first response the tables exist.
    run(&shop.port_args(), &["--operations=1", "--seed=99"]);
    let order = "INSERT INTO orders (id, user_id, placed_at_ms, total_cents) SELECT 100000, min(id), 0, 0 FROM users";
    assert_eq!(rusqlite::Connection::open(shop.database()).unwrap().execute(order, []).unwrap(), 1);
}

/// Returns the number of operations that two runs have in common, over all virtual users. The runs must not differ
/// before one of them ends.
fn common_prefix(one: &BTreeMap<u32, Vec<Decision>>, other: &BTreeMap<u32, Vec<Decision>>) -> usize {
    let users = one.iter().filter_map(|(user, decisions)| Some((user, decisions, other.get(user)?)));
    let lengths = users.map(|(user, one, other)| {
        let length = one.len().min(other.len());
        assert_eq!(one[..length], other[..length], "virtual user {user}");
        length
    });
    lengths.sum()
}

#[test]
fn the_same_seed_gives_the_same_workload_in_a_closed_loop() {
    let run = |seed| on_a_fresh_shop(&["--users=5", "--think-time=1ms", "--operations=300", seed]).0;
    let (one, repeated, other) = (run("--seed=3"), run("--seed=3"), run("--seed=4"));
    assert_eq!(one.values().map(Vec::len).collect::<Vec<_>>(), [60; 5]);
    assert_eq!(one, repeated);
    assert_ne!(one, other);
}

#[test]
fn the_same_seed_gives_the_same_workload_and_the_same_starts_in_an_open_loop() {
    let run = |seed| on_a_fresh_shop(&["--users=8", "--arrival-rate=1000/s", "--operations=400", seed]);
    let (one, repeated, other) = (run("--seed=3"), run("--seed=3"), run("--seed=4"));
    assert_eq!(one.1, repeated.1);
    assert_ne!(one.1, other.1);
    assert_eq!(one.1.len(), 400);
    // The host decides which user takes an arrival, so users do not all reach the same operation.
    assert!(common_prefix(&one.0, &repeated.0) > 0);
}

/// Returns exit code and stderr of the client.
fn rejected(args: &[&str]) -> (Option<i32>, String) {
    let mut command: Command = client(["workload", "--csv=-"]);
    let output = command.args(args).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn conflicting_options_are_rejected_with_what_to_do() {
    for (args, code, expected) in [
        (&["--arrival-rate=5/s", "--think-time=1s"][..], 2, "cannot be used with"),
        (&["--arrivals=constant"], 2, "--arrival-rate"),
        (&["--arrival-offset=1s"], 2, "--arrival-rate"),
        (&["--arrival-rate=5"], 2, "(e.g. 200/s)"),
        (&["--arrival-rate=5/s", "--arrival-offset=1s"], 2, "--arrivals constant"),
        (&["--users=2000000000"], 2, "expected 1 to 100000"),
        (&["--control"], 2, "--csv -"),
        (&["--admin-password-file=x"], 2, "--admin-username"),
        (&["--config={}"], 2, "missing field"),
    ] {
        let (exit, stderr) = rejected(args);
        assert_eq!(exit, Some(code), "{args:?}: {stderr}");
        assert!(stderr.contains(expected), "{args:?}: {stderr}");
    }
}
