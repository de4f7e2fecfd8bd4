//! What both ends of TCP tell of a link that loses packets: the real shop with `--trace`, the real client and the
//! shaper, in network namespaces.
//!
//! This program is also the shop and the shaper, as the driver is: they are libraries, and a test gets only the path of
//! its own package's programs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use fixture::{Fixture, Running, SERVER};
use model::TraceRow;
use model::sample::{Outcome, Sample};
use test_support::{requirements, test};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.first().and_then(|first| first.to_str()) {
        Some("shop-server") => server::cli::main_from(arguments),
        Some("shaper") => shaper::cli::main_from(arguments),
        _ => {
            let tests = [
                test!(kept_connections_tell_every_retransmission_on_both_sides),
                test!(connections_per_request_tell_lost_syn_acks_too),
            ];
            let needs = [requirements::named_namespaces, requirements::tun];
            // Both wait most of the time, for retransmissions.
            test_support::run(2, tests.map(|test| test.needs(&needs).shared()))
        }
    }
}

/// What was seen of a workload over a link whose server's side loses packets.
struct Seen {
    samples: Vec<Sample>,
    /// The server's row of each exchange.
    rows: HashMap<u64, TraceRow>,
    /// Packets that the shaper dropped, all of them the server's.
    dropped: u64,
    /// Segments that the server's and the client's kernel sent again.
    server_kernel: u64,
    client_kernel: u64,
}

impl Seen {
    fn server_retransmits(&self) -> u64 {
        self.rows.values().map(|row| u64::from(row.retransmits.unwrap())).sum()
    }

    fn client_retransmits(&self) -> u64 {
        self.samples.iter().filter_map(|sample| sample.tcp_retransmits).map(u64::from).sum()
    }

    /// Retransmissions that the server's side counted for the exchange of a sample.
    fn of(&self, sample: &Sample) -> Option<u32> {
        self.rows.get(&sample.exchange_id?)?.retransmits
    }

    fn summary(&self) -> String {
        format!(
            "{} operations, {} packets dropped; sent again by the server {} (its kernel says {}), by the client {} ({})",
            self.samples.len(),
            self.dropped,
            self.server_retransmits(),
            self.server_kernel,
            self.client_retransmits(),
            self.client_kernel
        )
    }
}

/// Loss of the server's packets. Low enough that no operation runs into its timeout of 100 s: a handshake would have to
/// lose seven SYN-ACKs in a row, one in ten million at 10 %.
const LOSS: &str = "10%";

/// Runs a workload with that loss.
fn run(connection: &str) -> Seen {
    let fixture = Fixture::new();
    let folder = tempfile::tempdir().unwrap();
    let (csv, trace) = (folder.path().join("samples.csv"), folder.path().join("trace.csv"));
    let listen = ["--accounts-listen", "10.79.0.1:5000", "--shop-listen", "10.79.0.1:5001"];
    let cheap =
        ["--log", "warn", "--password-memory-kib", "8", "--password-iterations", "1", "--catalogue-stock", "100000"];
    let paths = ["--database".into(), folder.path().join("shop.db").into(), "--trace".into(), trace.clone().into()];
    let settings = listen.iter().chain(&cheap).map(OsString::from).chain(paths).collect::<Vec<_>>();
    let shop = Running::start(&fixture.server, "shop-server", &settings);
    let shaper = Running::start(&fixture.server, "shaper", &["run", "--loss", LOSS, "--seed", "7"].map(OsString::from));
    let mut client = Fixture::command(&fixture.client, env!("CARGO_BIN_EXE_shop-client"));
    client.args(["workload", "--server", SERVER, "--users=40", "--operations=1200", "--think-time=0s", "--seed=3"]);
    // No operation may be given up: the sums below are of what was seen to its end.
    client.args(["--request-timeout=100s", "--connect-timeout=100s", "--connection", connection, "--csv"]).arg(&csv);
    let output = client.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let dropped = dropped(&fixture.server);
    let (server_kernel, client_kernel) =
        (Fixture::retransmitted(&fixture.server), Fixture::retransmitted(&fixture.client));
    shop.stop();
    shaper.stop();
    let rows = read::<TraceRow>(&trace).into_iter().map(|row| (row.exchange_id, row));
    Seen { samples: read(&csv), rows: rows.collect(), dropped, server_kernel, client_kernel }
}

/// What the shaper in that namespace says that it has dropped.
fn dropped(namespace: &str) -> u64 {
    let mut show = Fixture::command(namespace, std::env::current_exe().unwrap());
    let output = show.args(["shaper", "show"]).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    status["counters"]["dropped_loss"].as_u64().unwrap()
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Vec<T> {
    csv::Reader::from_path(path).unwrap().deserialize().map(|row| row.unwrap()).collect()
}

/// Every operation has its row, and no row is of anything else.
fn check_join(seen: &Seen) {
    let told = |sample: &&Sample| sample.exchange_id.is_some();
    assert_eq!(seen.samples.iter().filter(told).count(), seen.samples.len(), "every operation was answered");
    assert_eq!(seen.rows.len(), seen.samples.len(), "{}", seen.summary());
    for sample in &seen.samples {
        assert!(matches!(sample.outcome, Outcome::Ok | Outcome::Refused), "{sample:?}");
        let row = &seen.rows[&sample.exchange_id.unwrap()];
        assert!(row.tcp_rto_us.unwrap() >= 200_000 && row.tcp_rtt_us.unwrap() > 0, "{row:?}");
    }
}

/// Median latency of the operations for which the server's side sent something again, or nothing, milliseconds.
fn median_latency(seen: &Seen, sent_again: impl Fn(u32) -> bool) -> f64 {
    let matching = seen.samples.iter().filter(|sample| seen.of(sample).is_some_and(&sent_again));
    let mut latencies: Vec<f64> = matching.map(|sample| sample.latency_ms).collect();
    latencies.sort_by(f64::total_cmp);
    latencies[latencies.len() / 2]
}

fn assert_between(value: u64, low: u64, high: u64, what: &str, seen: &Seen) {
    assert!((low..=high).contains(&value), "{what}: {value}, expected {low} to {high}; {}", seen.summary());
}

/// Checks what holds however connections are made. `fins` is how many of the server's FINs may have been sent again:
/// by then the connection was over for the shop, so they are in no row.
fn check_totals(seen: &Seen, fins: u64) {
    let (server, client) = (seen.server_retransmits(), seen.client_retransmits());
    assert_between(server, seen.server_kernel - fins, seen.server_kernel, "rows against the server's kernel", seen);
    assert!(client > 0 && client <= seen.client_kernel, "{}", seen.summary());
    // Nothing of the client's was lost: it repeats itself when the answer to a SYN or the acknowledgement of a request
    // was, and each such packet is among those dropped.
    assert_between(client, 1, seen.dropped, "sent again by the client", seen);
    // Linux waits at least 200 ms before it retransmits a single segment. The other median depends on the host's speed.
    let (with, without) = (median_latency(seen, |again| again > 0), median_latency(seen, |again| again == 0));
    assert!(with > 150.0 && without < with, "medians {with} ms and {without} ms; {}", seen.summary());
}

fn kept_connections_tell_every_retransmission_on_both_sides() {
    let seen = run("persistent");
    check_join(&seen);
    // 80 connections, of whose FINs a tenth is lost, and of those again a tenth.
    check_totals(&seen, 30);
    // Nearly all that the server sends here are responses, and each that is dropped is sent again, until one arrives;
    // the rest are FINs and acknowledgements on their own, which are never repeated.
    let dropped = seen.dropped;
    assert_between(seen.server_retransmits(), dropped * 3 / 4, dropped * 21 / 20, "rows against drops", &seen);
}

fn connections_per_request_tell_lost_syn_acks_too() {
    let seen = run("per-request");
    check_join(&seen);
    check_totals(&seen, 200);
    let late = |sample: &&Sample| sample.connect_ms.unwrap() > 900.0;
    let (late, prompt): (Vec<_>, Vec<_>) = seen.samples.iter().partition(late);
    // 10 % of 1200, and four and a half standard deviations.
    assert_between(late.len() as u64, 73, 167, "handshakes whose SYN-ACK was lost", &seen);
    // The client may have retransmitted nothing: its SYN timer and the server's SYN-ACK timer are both 1 s, and when
    // the server's expires first, the SYN-ACK arrives before the client would retransmit its SYN.
    for sample in late {
        assert!(seen.of(sample).unwrap() > 0, "the server retransmitted its SYN-ACK: {sample:?}");
    }
    let untroubled = prompt.iter().filter(|sample| seen.of(sample) == Some(0)).count();
    assert!(untroubled * 2 > prompt.len(), "{untroubled} of {}: most responses arrive at once", prompt.len());
}
