//! Start lateness of an open loop: the real client and a real shop on this host.
//!
//! `cargo bench -p client --bench pacing -- [--check] [--seconds N] [--repetitions N]`. Start lateness depends on the
//! host's other load, which is printed. `--check` fails if the median of the repetitions' p99 is above the target at
//! any rate.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench fails by panicking and reports by printing")]

#[path = "../tests/suite/common.rs"]
mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use common::{Shop, client};
use model::messages::workload::{ArrivalReport, Event};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};

/// Target of the p99 start lateness, microseconds.
const TARGET_P99_US: u64 = 200;
const RATES: [&str; 2] = ["200/s", "1000/s"];
const CONNECTIONS: [&str; 2] = ["per-request", "persistent"];

struct Options {
    is_check: bool,
    seconds: u64,
    repetitions: usize,
}

fn options() -> Option<Options> {
    let mut options = Options { is_check: false, seconds: 10, repetitions: 3 };
    let mut is_bench = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse().ok()).expect("a number after the option");
        match argument.as_str() {
            "--bench" => is_bench = true,
            "--check" => options.is_check = true,
            "--seconds" => options.seconds = number(),
            "--repetitions" => options.repetitions = number() as usize,
            other => panic!("'{other}': expected --check, --seconds N or --repetitions N"),
        }
    }
    // `cargo test --benches` runs it without `--bench`.
    is_bench.then_some(options)
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        println!("skipped: start lateness is measured by cargo bench");
        return ExitCode::SUCCESS;
    };
    println!(
        "rate    connections  p50 us  p99 us  max us   on_schedule  queued  scheduling  CPUs busy with other processes"
    );
    let mut is_good = true;
    for rate in RATES {
        for connections in CONNECTIONS {
            let mut p99: Vec<u64> = (0..options.repetitions)
                .map(|_| {
                    let (arrivals, others) = measure(rate, connections, options.seconds);
                    print(rate, connections, &arrivals, others);
                    arrivals.p99_us
                })
                .collect();
            p99.sort_unstable();
            is_good &= p99[p99.len() / 2] <= TARGET_P99_US;
        }
    }
    println!("target: p99 at most {TARGET_P99_US} us: {}", if is_good { "met" } else { "missed" });
    if options.is_check && !is_good { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn print(rate: &str, connections: &str, arrivals: &ArrivalReport, others: f64) {
    let ArrivalReport { on_schedule, queued, p50_us, p99_us, max_us, scheduling, .. } = arrivals;
    let scheduling = format!("{scheduling:?}").to_lowercase();
    println!(
        "{rate:<7} {connections:<12} {p50_us:>6} {p99_us:>7} {max_us:>7} {on_schedule:>7} {queued:>7}  {scheduling:<9} {others:.2}"
    );
}

/// Runs a workload on a new shop. Returns its arrival report, and the mean number of CPUs busy with other processes.
fn measure(rate: &str, connections: &str, seconds: u64) -> (ArrivalReport, f64) {
    let shop = Shop::start(1_000_000);
    let directory = tempfile::tempdir().unwrap();
    let mut command = client(["workload", "--control", "--users=64", "--warm-up=1s", "--csv"]);
    command.arg(directory.path().join("s.csv")).args(shop.port_args());
    command.args([format!("--arrival-rate={rate}"), format!("--connection={connections}")]);
    command.arg(format!("--duration={seconds}s"));
    let (busy, ours, start) = (busy_time(), our_time(), Instant::now());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    let last = BufReader::new(child.stdout.take().unwrap()).lines().last().unwrap().unwrap();
    assert!(child.wait().unwrap().success());
    let others = (busy_time() - busy).saturating_sub(our_time() - ours);
    let Event::Done { errors: 0, arrivals: Some(arrivals), .. } = serde_json::from_str(&last).unwrap() else {
        panic!("the workload ended with {last}");
    };
    (arrivals, others.as_secs_f64() / start.elapsed().as_secs_f64())
}

/// Returns the busy time of all CPUs: user, nice, system, irq and softirq of /proc/stat, in hundredths of a second
/// (proc_stat(5)).
fn busy_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let fields = stat.lines().next().unwrap().split_whitespace().skip(1);
    let ticks: Vec<u64> = fields.map(|field| field.parse().unwrap()).collect();
    Duration::from_millis(10 * (ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6]))
}

/// Returns the CPU time of this process, which contains the shop, and of the clients that have exited.
fn our_time() -> Duration {
    let microseconds = |time: TimeVal| time.num_microseconds();
    let of = |who| {
        let usage = getrusage(who).unwrap();
        let (user, system) = (usage.user_time(), usage.system_time());
        Duration::from_micros((microseconds(user) + microseconds(system)) as u64)
    };
    of(UsageWho::RUSAGE_SELF) + of(UsageWho::RUSAGE_CHILDREN)
}
