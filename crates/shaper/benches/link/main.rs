//! `cargo bench -p shaper --bench link`: measures the shaper's accuracy against its targets, the unshaped link and
//! netem.
//!
//! It runs the built binary in network namespaces and generates its own traffic: it requires only `ip`, and `tc` for
//! netem. It prints one Markdown table; each row is documented in the module that measures it.
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "prints the table and the progress")]

mod bulk;
mod delay;
mod emulator;
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../../tests/namespaces/fixture.rs"]
mod fixture;
mod goodput;
mod host;
mod loss;
mod statistics;
mod switching;
mod table;
mod throughput;

use std::process::ExitCode;

use clap::Parser;

use emulator::Emulator;
use fixture::Fixture;
use table::Row;

/// Measure the shaper against its targets, the unshaped link and, if available, netem.
#[derive(Parser)]
struct Options {
    /// Use a fifth of the packets and of the time
    #[arg(long)]
    quick: bool,
    /// Exit with 1 if the shaper misses a target
    #[arg(long)]
    check: bool,
    /// Compare with another build of the shaper
    #[arg(long, value_name = "PROGRAM")]
    compare: Option<String>,
    /// Measure only these groups of rows: delay, loss, goodput, throughput, switching
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Passed by cargo to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// Number of packets and measuring time.
#[derive(Clone, Copy)]
enum Effort {
    Full,
    Quick,
}

impl Effort {
    /// Returns `full`, or a fifth of it.
    fn of(self, full: u32) -> u32 {
        match self {
            Self::Full => full,
            Self::Quick => full.div_ceil(5),
        }
    }
}

type Measure = fn(&Fixture, &[Emulator], Effort) -> Vec<Row>;

const GROUPS: [(&str, Measure); 5] = [
    ("delay", delay::rows),
    ("loss", loss::rows),
    ("goodput", goodput::rows),
    ("throughput", throughput::rows),
    ("switching", switching::rows),
];

fn main() -> ExitCode {
    let options = Options::parse();
    let Some(fixture) = fixture::fixture() else { return ExitCode::SUCCESS };
    let effort = if options.quick { Effort::Quick } else { Effort::Full };
    let (emulators, netem) = Emulator::all(&fixture, options.compare);
    println!("{}\n", host::describe());
    let mut rows = Vec::new();
    for (group, measure) in GROUPS {
        if options.only.is_empty() || options.only.iter().any(|name| name == group) {
            eprintln!("measuring {group} …");
            rows.extend(measure(&fixture, &emulators, effort));
        }
    }
    println!("{}\n{netem}Load average {} after the bench.", table::markdown(&emulators, &rows), host::load_average());
    let missed = table::missed(&emulators, &rows);
    if !missed.is_empty() {
        println!("\nTargets missed: {}", missed.join("; "));
    }
    if options.check && !missed.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
