//! `cargo bench -p shaper --bench link`: the shaper compared with its targets, the unshaped link and netem.
//!
//! Everything is real: namespaces, sockets, the built binary. The traffic is the bench's own, so nothing but `ip` (and
//! `tc` for netem) is needed. Prints one Markdown table; what each row means is said where it is measured.
#![allow(clippy::unwrap_used, reason = "a bench that cannot measure has nothing to say but where it failed")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is the table, and its progress")]

mod bulk;
mod delay;
mod emulator;
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../../tests/namespaces/fixture.rs"]
mod fixture;
mod goodput;
mod loss;
mod machine;
mod statistics;
mod switching;
mod table;
mod throughput;

use std::process::ExitCode;

use clap::Parser;

use emulator::Emulator;
use fixture::Fixture;
use table::Row;

/// Measures the shaper against its targets, compared with the unshaped link and, if the kernel has it, netem.
#[derive(Parser)]
struct Options {
    /// A fifth of the packets and of the time, for a first look
    #[arg(long)]
    quick: bool,
    /// Exit with 1 when the shaper misses a goal
    #[arg(long)]
    check: bool,
    /// Another build of the shaper, to be compared with this one
    #[arg(long, value_name = "PROGRAM")]
    compare_with: Option<String>,
    /// Measure only rows whose group is named: delay, loss, goodput, throughput, switching
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// What cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// How much is measured.
#[derive(Clone, Copy)]
enum Effort {
    Full,
    Quick,
}

impl Effort {
    /// `full`, or a fifth of it.
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
    let (emulators, netem) = Emulator::all(&fixture, options.compare_with);
    println!("{}\n", machine::describe());
    let mut rows = Vec::new();
    for (group, measure) in GROUPS {
        if options.only.is_empty() || options.only.iter().any(|name| name == group) {
            eprintln!("measuring {group} …");
            rows.extend(measure(&fixture, &emulators, effort));
        }
    }
    println!("{}\n{netem}Load average {} after it.", table::markdown(&emulators, &rows), machine::load_average());
    let missed = table::missed(&emulators, &rows);
    if !missed.is_empty() {
        println!("\nGoals missed: {}", missed.join("; "));
    }
    if options.check && !missed.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
