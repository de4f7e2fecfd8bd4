//! `cargo bench -p server --bench throughput`: measures the shop against a bare framed echo and raw SQLite, in turn on
//! the same host.
//!
//! The echo answers requests of the same length with responses of the same length, so that it costs what the kernel,
//! tokio and the load generator cost. Raw SQLite writes the same rows into the same tables, 100 orders per transaction.
//! Every round measures both, one after the other; the table shows the median of the rounds' ratios and their range.
//! Databases are created in the directory `TMPDIR`: what `--durability full` costs depends on its disk.
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "prints the table and the progress")]

mod attack;
mod cases;
mod echo;
mod load;
mod sqlite;
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../../tests/suite/support.rs"]
mod support;
mod target;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use cases::{CASES, Case, Outcome};

/// Measure the shop against a bare framed echo and raw SQLite.
#[derive(Parser)]
struct Options {
    /// Rounds per case
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds per round and program
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Exit with 1 if the shop misses a goal
    #[arg(long)]
    check: bool,
    /// Measure only these cases: browse, pipelined, browse-and-orders, latency, per-request, orders, logins, attack, catalogue
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Run as the echo with responses of this length, bytes
    #[arg(long, hide = true)]
    echo: Option<usize>,
    /// Passed by cargo to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(response_bytes) = options.echo {
        echo::run(response_bytes);
        return ExitCode::SUCCESS;
    }
    let duration = Duration::from_secs_f64(options.seconds);
    let is_selected = |case: &&Case| options.only.is_empty() || options.only.iter().any(|name| name == case.name);
    println!(
        "| case | reference | shop | ratio | range | goal | CPU per request: reference, shop | p50, p99: reference | p50, p99: shop |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut missed = Vec::new();
    for case in CASES.iter().filter(is_selected) {
        eprintln!("measuring {} …", case.name);
        let outcome = case.measure(options.rounds, duration);
        println!("{}", row(case, &outcome));
        if !case.goal.is_met(outcome.ratio) {
            missed.push(case.name);
        }
    }
    if !missed.is_empty() {
        println!("\nGoals missed: {}", missed.join(", "));
    }
    if options.check && !missed.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn row(case: &Case, outcome: &Outcome) -> String {
    let Outcome { reference, shop, ratio, min_ratio, max_ratio } = outcome;
    let cpu = |summary: &load::Summary| match summary.cpu_us {
        Some(us) => format!("{us:.1} µs"),
        None => "–".to_owned(),
    };
    let times = |summary: &load::Summary| match summary.latency_us {
        Some([p50, p99]) => format!("{p50:.0} µs, {p99:.0} µs"),
        None => "–".to_owned(),
    };
    format!(
        "| {} | {:.0}/s | {:.0}/s | {ratio:.2} | {min_ratio:.2}–{max_ratio:.2} | {} | {}, {} | {} | {} |",
        case.description,
        reference.per_second,
        shop.per_second,
        case.goal,
        cpu(reference),
        cpu(shop),
        times(reference),
        times(shop),
    )
}
