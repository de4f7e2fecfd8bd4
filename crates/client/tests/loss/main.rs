//! Retransmission counts of both ends of TCP on a lossy link: the real shop with `--trace`, the real client and the
//! shaper, in network namespaces.
//!
//! Like the driver, this program is also the shop and the shaper: they are libraries, and cargo passes a test only the
//! paths of its own package's programs.
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
                test!(persistent_connections_count_every_retransmission_on_both_sides),
                test!(connections_per_request_also_count_lost_syn_acks),
            ];
            let needs = [requirements::named_namespaces, requirements::tun];
            // Both mostly wait for retransmissions.
            test_support::run(2, tests.map(|test| test.needs(&needs).shared()))
        }
    }
}

/// Results of a workload over a link that loses packets of the server.
struct Results {
    samples: Vec<Sample>,
    /// The server's trace row of each exchange.
    rows: HashMap<u64, TraceRow>,
    /// Packets that the shaper dropped, all sent by the server.
    dropped: u64,
    /// Segments that the server's and the client's kernel retransmitted.
    server_kernel: u64,
    client_kernel: u64,
}

impl Results {
    fn server_retransmits(&self) -> u64 {
        self.rows.values().map(|row| u64::from(row.retransmits.unwrap())).sum()
    }

    fn client_retransmits(&self) -> u64 {
        self.samples.iter().filter_map(|sample| sample.tcp_retransmits).map(u64::from).sum()
    }

    /// Returns the server's retransmissions in the exchange of a sample.
    fn of(&self, sample: &Sample) -> Option<u32> {
        self.rows.get(&sample.exchange_id?)?.retransmits
    }

    fn summary(&self) -> String {
        format!(
            "{} operations, {} packets dropped; retransmitted by the server {} (its kernel: {}), by the client {} ({})",
            self.samples.len(),
            self.dropped,
            self.server_retransmits(),
            self.server_kernel,
            self.client_retransmits(),
            self.client_kernel
        )
    }
}

/// Loss of the server's packets. Low enough that no operation reaches its timeout of 100 s: for that, a handshake would
/// have to lose seven consecutive SYN-ACKs, which happens once in ten million at 10 %.
const LOSS: &str = "10%";

/// Runs a workload with [`LOSS`].
fn run(connection: &str) -> Results {
    let fixture = Fixture::new();
    let directory = tempfile::tempdir().unwrap();
    let (csv, trace) = (directory.path().join("samples.csv"), directory.path().join("trace.csv"));
    let listen = ["--accounts-listen", "10.79.0.1:5000", "--shop-listen", "10.79.0.1:5001"];
    let cheap =
        ["--log", "warn", "--password-memory-kib", "8", "--password-iterations", "1", "--catalogue-stock", "100000"];
    let paths = ["--database".into(), directory.path().join("shop.db").into(), "--trace".into(), trace.clone().into()];
    let settings = listen.iter().chain(&cheap).map(OsString::from).chain(paths).collect::<Vec<_>>();
    let shop = Running::start(&fixture.server, "shop-server", &settings);
    let shaper = Running::start(&fixture.server, "shaper", &["run", "--loss", LOSS, "--seed", "7"].map(OsString::from));
    let mut client = Fixture::command(&fixture.client, env!("CARGO_BIN_EXE_shop-client"));
    client.args(["workload", "--server", SERVER, "--users=40", "--operations=1200", "--think-time=0s", "--seed=3"]);
    // No operation may reach a timeout: the counts below are of complete operations.
    client.args(["--request-timeout=100s", "--connect-timeout=100s", "--connection", connection, "--csv"]).arg(&csv);
    let output = client.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let dropped = dropped(&fixture.server);
    let (server_kernel, client_kernel) =
        (Fixture::retransmitted(&fixture.server), Fixture::retransmitted(&fixture.client));
    shop.stop();
    shaper.stop();
    let rows = read::<TraceRow>(&trace).into_iter().map(|row| (row.exchange_id, row));
    Results { samples: read(&csv), rows: rows.collect(), dropped, server_kernel, client_kernel }
}

/// Returns the number of packets that the shaper in the namespace has dropped for the loss.
fn dropped(namespace: &str) -> u64 {
    let mut show = Fixture::command(namespace, std::env::current_exe().unwrap());
    let output = show.args(["shaper", "show"]).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    status["counters"]["dropped_loss"].as_u64().unwrap()
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Vec<T> {
    csv::Reader::from_path(path).unwrap().deserialize().map(|row| row.unwrap()).collect()
}

/// Asserts that every operation has a trace row, and that there are no other trace rows.
fn check_join(results: &Results) {
    let has_response = |sample: &&Sample| sample.exchange_id.is_some();
    assert_eq!(
        results.samples.iter().filter(has_response).count(),
        results.samples.len(),
        "operations with a response"
    );
    assert_eq!(results.rows.len(), results.samples.len(), "{}", results.summary());
    for sample in &results.samples {
        assert!(matches!(sample.outcome, Outcome::Ok | Outcome::Refused), "{sample:?}");
        let row = &results.rows[&sample.exchange_id.unwrap()];
        assert!(row.tcp_rto_us.unwrap() >= 200_000 && row.tcp_rtt_us.unwrap() > 0, "{row:?}");
    }
}

/// Returns the median latency of the operations whose number of server retransmissions is selected, milliseconds.
fn median_latency(results: &Results, selected: impl Fn(u32) -> bool) -> f64 {
    let matching = results.samples.iter().filter(|sample| results.of(sample).is_some_and(&selected));
    let mut latencies: Vec<f64> = matching.map(|sample| sample.latency_ms).collect();
    latencies.sort_by(f64::total_cmp);
    latencies[latencies.len() / 2]
}

fn assert_between(value: u64, low: u64, high: u64, what: &str, results: &Results) {
    assert!((low..=high).contains(&value), "{what}: {value}, expected {low} to {high}; {}", results.summary());
}

/// Checks the totals, for any connection mode. `fins` is the maximum number of the server's FINs that were
/// retransmitted: by then the connection has ended for the shop, so they are in no row.
fn check_totals(results: &Results, fins: u64) {
    let (server, client) = (results.server_retransmits(), results.client_retransmits());
    assert_between(
        server,
        results.server_kernel - fins,
        results.server_kernel,
        "rows against the server's kernel",
        results,
    );
    assert!(client > 0 && client <= results.client_kernel, "{}", results.summary());
    // No packet of the client was lost. It retransmits if a SYN-ACK or the acknowledgement of a request was lost, and
    // each of these packets is among those dropped.
    assert_between(client, 1, results.dropped, "retransmitted by the client", results);
    // Linux waits at least 200 ms before it retransmits a single segment. The other median depends on the host's speed.
    let (with, without) = (median_latency(results, |count| count > 0), median_latency(results, |count| count == 0));
    assert!(with > 150.0 && without < with, "medians {with} ms and {without} ms; {}", results.summary());
}

fn persistent_connections_count_every_retransmission_on_both_sides() {
    let results = run("persistent");
    check_join(&results);
    // 80 connections: 10 % of their FINs are lost, and 10 % of the retransmitted ones.
    check_totals(&results, 30);
    // Nearly all packets of the server are responses, which are retransmitted until they arrive. The others are FINs
    // and pure acknowledgements, which are never retransmitted.
    let dropped = results.dropped;
    assert_between(results.server_retransmits(), dropped * 3 / 4, dropped * 21 / 20, "rows against drops", &results);
}

fn connections_per_request_also_count_lost_syn_acks() {
    let results = run("per-request");
    check_join(&results);
    check_totals(&results, 200);
    let late = |sample: &&Sample| sample.connect_ms.unwrap() > 900.0;
    let (late, prompt): (Vec<_>, Vec<_>) = results.samples.iter().partition(late);
    // 10 % of 1200, ± 4.5 standard deviations.
    assert_between(late.len() as u64, 73, 167, "handshakes whose SYN-ACK was lost", &results);
    // The client may have retransmitted nothing: its SYN timer and the server's SYN-ACK timer are both 1 s, and if the
    // server's expires first, the SYN-ACK arrives before the client would retransmit its SYN.
    //
    // The server's kernel counts a retransmitted SYN-ACK after sending it. If the acknowledgement has arrived on the other
    // CPU by then, the connection does not contain the count: docs/measuring.md, "Lost SYN-ACKs".
    let counted = late.iter().filter(|sample| results.of(sample).unwrap() > 0).count();
    assert_between(counted as u64, late.len() as u64 * 9 / 10, late.len() as u64, "counted SYN-ACKs", &results);
    let unaffected = prompt.iter().filter(|sample| results.of(sample) == Some(0)).count();
    assert!(unaffected * 2 > prompt.len(), "{unaffected} of {}: most responses need no retransmission", prompt.len());
}
