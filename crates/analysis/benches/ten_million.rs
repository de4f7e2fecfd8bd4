//! Analyses the samples of a large run and prints seconds per stage and peak memory:
//! `cargo bench -p analysis --bench ten_million -- [--rows N]`.
//!
//! The samples are generated from a seed into a temporary file that has no name, so the system removes it however the
//! benchmark ends. The file is written and read as a stream, so the peak memory is that of the analysis.
#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]

#[path = "../tests/suite/synthetic.rs"]
mod synthetic;

use std::error::Error;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Seek, Write};
use std::time::Instant;

use analysis::{Analysis, CellInfo, Dataset, Format, RunTitle, Verdict};
use model::sample::row_columns;
use model::{Cell, SweptParameter};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const ROWS: u64 = 10_000_000;
/// Limits with [`ROWS`] on two idle cores.
const MAX_SECONDS: f64 = 30.0;
const MAX_MEGABYTES: f64 = 1000.0;

const REPETITIONS: u32 = 10;
const CLIENTS: u64 = 8;

/// One operation: its name, median server time (µs) and response size (bytes).
const OPERATIONS: [(&str, f64, u32); 8] = [
    ("login", 410.0, 220),
    ("logout", 220.0, 60),
    ("place_order", 280.0, 260),
    ("register", 900.0, 230),
    ("submit_rating", 250.0, 90),
    ("view_categories", 90.0, 480),
    ("view_order_history", 170.0, 2600),
    ("view_products", 190.0, 5200),
];

/// The sweep: the values of each parameter with their magnitudes.
const SWEEP: [(SweptParameter, [(&str, f64); 3]); 3] = [
    (SweptParameter::Loss, [("0%", 0.0), ("1%", 1.0), ("2%", 2.0)]),
    (SweptParameter::Delay, [("0", 0.0), ("50ms", 50.0), ("100ms", 100.0)]),
    (SweptParameter::Rate, [("10Mbit", 10_000.0), ("1Mbit", 1000.0), ("100kbit", 100.0)]),
];

/// Returns the cells of a run with [`REPETITIONS`] of the sweep.
fn plan() -> Vec<Cell> {
    let values = SWEEP.iter().flat_map(|(parameter, values)| values.iter().map(move |value| (*parameter, *value)));
    let cell = |repetition, (parameter, (value, magnitude)): (SweptParameter, (&str, f64))| {
        synthetic::cell((parameter, value.to_owned(), magnitude, repetition))
    };
    (1..=REPETITIONS).flat_map(|repetition| values.clone().map(move |value| cell(repetition, value))).collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let rows = rows()?;
    let cells = plan();
    let mut file = tempfile::tempfile()?;
    write_samples(&file, &cells, rows)?;
    println!("{rows} rows, {} MB; peak memory {:.0} MB", file.metadata()?.len() / 1_000_000, peak_megabytes()?);
    file.rewind()?;
    let start = Instant::now();
    analyse(file, cells.into_iter().map(|cell| synthetic::info(cell, Verdict::Verified)).collect())?;
    let (seconds, megabytes) = (start.elapsed().as_secs_f64(), peak_megabytes()?);
    println!("total: {seconds:.2} s (limit {MAX_SECONDS}), peak memory {megabytes:.0} MB (limit {MAX_MEGABYTES})");
    if rows == ROWS && (seconds > MAX_SECONDS || megabytes > MAX_MEGABYTES) {
        return Err("limit exceeded".into());
    }
    Ok(())
}

/// Returns the number after `--rows`. Cargo adds `--bench`.
fn rows() -> Result<u64, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Ok(ROWS),
        ["--rows", rows] => Ok(rows.parse()?),
        _ => Err("usage: ten_million [--rows N]".into()),
    }
}

/// Computes everything that a report contains, and prints the time of each stage.
fn analyse(file: File, cells: Vec<CellInfo>) -> Result<(), Box<dyn Error>> {
    let mut start = Instant::now();
    let mut stage = |name: &str| {
        println!("{name}: {:.2} s", start.elapsed().as_secs_f64());
        start = Instant::now();
    };
    let dataset = Dataset::read(file, cells)?;
    stage("dataset");
    let analysis = Analysis::new(dataset, 1);
    stage("analysis");
    let rows = (analysis.summary().len(), analysis.intervals().len(), analysis.breakdown().len());
    let tables: usize = Format::ALL.iter().copied().map(|format| analysis.table(format, None).len()).sum();
    stage(&format!("tables ({rows:?} rows, {tables} bytes)"));
    let title = RunTitle { run_id: "20261126-031154-9f7e".to_owned(), line: "benchmark".to_owned() };
    let graphs = analysis.graphs(&title)?;
    stage(&format!("{} graphs", graphs.len()));
    Ok(())
}

/// Returns the maximum of the resident memory so far.
fn peak_megabytes() -> Result<f64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM in /proc/self/status")?;
    let kibibytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kibibytes * 1.024 / 1000.0)
}

/// Writes `rows` samples, in equal parts per cell, with all columns of a real run.
fn write_samples(file: &File, cells: &[Cell], rows: u64) -> std::io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, file);
    writeln!(file, "{}", row_columns().collect::<Vec<_>>().join(","))?;
    let (mut line, total) = (String::new(), cells.len() as u64);
    for (cell, index) in cells.iter().zip(0..) {
        let mut random = ChaCha8Rng::seed_from_u64(index);
        let before = |cells: u64| rows * cells / total;
        for sequence in 0..before(index + 1) - before(index) {
            line.clear();
            write_row(&mut line, cell, sequence, &mut random);
            file.write_all(line.as_bytes())?;
        }
    }
    file.flush()
}

/// Appends one row. One operation in 30 belongs to the warm-up; one in 200 fails.
fn write_row(line: &mut String, cell: &Cell, sequence: u64, random: &mut ChaCha8Rng) {
    let (name, server, bytes) = OPERATIONS[random.random_range(0..OPERATIONS.len())];
    let mut around = |median: f64, sigma: f64| (median * log_normal(random, sigma)).round() as u64;
    let delay = cell.condition.delay.as_duration().as_micros() as f64;
    let (queue, database, processing) = (around(10.0, 0.5), around(server * 0.2, 0.3), around(server, 0.35));
    let server = queue + database + processing;
    let min_rtt = around(70.0 + delay, 0.02);
    let (tcp_rtt, rto) = (min_rtt + around(5.0, 0.5), 200_000 + min_rtt);
    let transmission =
        cell.condition.rate.map_or(0, |rate| around(f64::from(bytes) * 8e6 / rate.bits_per_second() as f64, 0.5));
    let lost = u64::from(random.random::<f64>() < 4.0 * cell.condition.loss.fraction());
    let stall = lost * (200_000 + (20_000.0 * random.random::<f64>()) as u64);
    let (connect, rtt) = (min_rtt + 60, server + min_rtt + transmission + stall + 12);
    let service = connect + rtt + 40;
    let wait = if random.random::<f64>() < 0.05 { (3000.0 * random.random::<f64>()) as u64 } else { 0 };
    let phase = if sequence.is_multiple_of(30) { "warm_up" } else { "measured" };
    let outcome = if random.random::<f64>() < 0.005 { "timeout" } else { "ok" };
    let (client, user, start) = (1 + sequence % CLIENTS, sequence % 16, sequence * 2_000);
    let result = write!(
        line,
        "20261126-031154-9f7e,{},{},{},{},client-{client},{user},{sequence},{name},{phase},{start}",
        cell.id, cell.swept_parameter, cell.value, cell.repetition
    );
    result.expect("a string can be extended");
    for time in [wait, connect, rtt - 3, rtt, service, wait + service, server, queue, database, tcp_rtt, min_rtt, rto] {
        milliseconds(line, time);
    }
    write!(line, ",{lost},{sequence}").expect("a string can be extended");
    milliseconds(line, tcp_rtt + transmission / 4);
    milliseconds(line, rto);
    writeln!(line, ",{lost},90,{bytes},{outcome}").expect("a string can be extended");
}

/// Appends a field with a time in milliseconds, as the clients write it: whole microseconds, without trailing zeros.
fn milliseconds(line: &mut String, microseconds: u64) {
    write!(line, ",{}.{:03}", microseconds / 1000, microseconds % 1000).expect("a string can be extended");
    let end = line.trim_end_matches('0').len();
    line.truncate(if line[..end].ends_with('.') { end + 1 } else { end });
    if line.ends_with('.') {
        line.push('0');
    }
}

/// Draws a factor around 1 with the given spread (Box and Muller's transform of two uniform numbers).
fn log_normal(random: &mut ChaCha8Rng, sigma: f64) -> f64 {
    let (u, v): (f64, f64) = (1.0 - random.random::<f64>(), random.random());
    ((-2.0 * u.ln()).sqrt() * (v * std::f64::consts::TAU).cos() * sigma).exp()
}
