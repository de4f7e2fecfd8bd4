//! A synthetic run that resembles a real one: log-normal server times, a link, loss that causes retransmission
//! timeouts, and the resulting errors. Seeded: tests get the same run every time.

#![allow(unreachable_pub, dead_code, reason = "shared by tests and an example, none of which uses all items")]

use analysis::{Analysis, CellInfo, Dataset, Verdict};
use model::sample::row_columns;
use model::{Cell, Condition, Labels, Outcome, Sample, SampleRow, SweptParameter};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A synthetic run.
#[derive(Clone)]
pub struct Run {
    /// All samples.
    pub samples: Vec<SampleRow>,
    /// All cells.
    pub cells: Vec<CellInfo>,
}

impl Run {
    /// Writes the samples as a `samples.csv` and reads it.
    pub fn dataset(&self) -> Dataset {
        let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
        writer.write_record(row_columns()).expect("memory can be written");
        for row in &self.samples {
            writer.serialize(row).expect("memory can be written");
        }
        let csv = writer.into_inner().expect("memory can be flushed");
        Dataset::read(csv.as_slice(), self.cells.clone()).expect("generated samples are valid")
    }

    /// Analyses the run.
    pub fn analyse(&self, seed: u64) -> Analysis {
        Analysis::new(self.dataset(), seed)
    }
}

/// The link of one cell.
#[derive(Clone, Copy, Default)]
pub struct Link {
    /// Percent of packets.
    pub loss: f64,
    /// Additional one-way delay, milliseconds.
    pub delay_ms: f64,
    /// Rate limit, kbit/s, if any.
    pub rate_kbit: Option<f64>,
}

/// Name, server time (ms) and response size (bytes) of each operation.
pub const OPERATIONS: [(&str, f64, f64); 6] = [
    ("login", 9.0, 220.0),
    ("place_order", 2.1, 260.0),
    ("submit_rating", 1.4, 90.0),
    ("view_categories", 0.4, 480.0),
    ("view_order_history", 0.9, 2600.0),
    ("view_products", 0.8, 5200.0),
];

/// Generates the scenario `default`, each cell twice: loss 0, 1, 2 %; delay 0, 50, 100 ms; rate 1000, 500, 100 kbit/s.
pub fn sweep(seed: u64, operations_per_cell: u64) -> Run {
    repeated_sweep(seed, operations_per_cell, 2)
}

/// Generates the same sweep with any number of repetitions.
pub fn repeated_sweep(seed: u64, operations_per_cell: u64, repetitions: u32) -> Run {
    let mut cells = Vec::new();
    for repetition in 1..=repetitions {
        for loss in [0.0, 1.0, 2.0] {
            cells
                .push(((SweptParameter::Loss, format!("{loss}%"), loss, repetition), Link { loss, ..Link::default() }));
        }
        for delay in [0.0, 50.0, 100.0] {
            let link = Link { delay_ms: delay, ..Link::default() };
            cells.push(((SweptParameter::Delay, format!("{delay}ms"), delay, repetition), link));
        }
        for rate in [1000.0, 500.0, 100.0] {
            let link = Link { rate_kbit: Some(rate), ..Link::default() };
            cells.push(((SweptParameter::Rate, format!("{rate}kbit"), rate, repetition), link));
        }
    }
    run(seed, operations_per_cell, cells)
}

/// Swept parameter, value, magnitude and repetition of a cell.
pub type CellName = (SweptParameter, String, f64, u32);

/// Returns a planned cell.
pub fn cell((swept_parameter, value, magnitude, repetition): CellName) -> Cell {
    let mut condition = Condition::BASELINE;
    match swept_parameter {
        SweptParameter::Loss => condition.loss = value.parse().expect("a loss"),
        SweptParameter::Delay => condition.delay = value.parse().expect("a delay"),
        SweptParameter::Rate => condition.rate = Some(value.parse().expect("a rate")),
        SweptParameter::Combined => unreachable!("not generated"),
    }
    let id = format!("{swept_parameter}-{value}-r{repetition}");
    Cell { id, swept_parameter, value, magnitude, repetition, condition, seed: 1, workload_seed: 1 }
}

/// Returns a cell with this verdict.
pub fn info(cell: Cell, verdict: Verdict) -> CellInfo {
    CellInfo { cell, verdict, measured_s: 30.0, overloaded: false, stalled: false }
}

/// Generates a run of `cells`, each with `operations_per_cell` operations.
pub fn run(seed: u64, operations_per_cell: u64, cells: Vec<(CellName, Link)>) -> Run {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut run = Run { samples: Vec::new(), cells: Vec::new() };
    for (name, link) in cells {
        let info = info(cell(name), Verdict::Verified);
        // Repetitions differ, as in a real run.
        let level = log_normal(&mut random, 0.05);
        run.samples.extend((0..operations_per_cell).map(|sequence| SampleRow {
            labels: Labels::new("20250301-101500-synthetic", &info.cell),
            sample: sample(&mut random, link, (level, sequence)),
        }));
        run.cells.push(info);
    }
    run
}

/// Effects of the link on one operation, milliseconds.
struct LinkEffects {
    /// RTT without queueing.
    base_ms: f64,
    /// Retransmission timeouts of the SYN.
    syn_stall_ms: f64,
    /// Serialisation and queueing of the response.
    link_ms: f64,
    /// Retransmission timeouts of the response.
    stall_ms: f64,
    /// Retransmitted segments: SYN, response.
    retransmits: (u32, u32),
}

fn link_effects(random: &mut ChaCha8Rng, link: Link, bytes: f64) -> LinkEffects {
    let mut lost = |packets: u32| (0..packets).filter(|_| random.random::<f64>() * 100.0 < link.loss).count() as u32;
    let retransmits = (lost(1), lost(2 + (bytes / 1400.0) as u32));
    let stall = |first: f64, count: u32| first * (2_f64.powi(count as i32) - 1.0);
    LinkEffects {
        base_ms: 0.15 * log_normal(random, 0.2) + link.delay_ms,
        syn_stall_ms: stall(1000.0, retransmits.0),
        link_ms: link.rate_kbit.map_or(0.0, |rate| bytes * 8.0 / rate * (1.0 + random.random::<f64>())),
        stall_ms: stall(205.0, retransmits.1),
        retransmits,
    }
}

fn sample(random: &mut ChaCha8Rng, link: Link, (level, sequence): (f64, u64)) -> Sample {
    let (operation, server, bytes) = OPERATIONS[random.random_range(0..OPERATIONS.len())];
    let (queue_ms, database_ms) = (0.1 * log_normal(random, 0.5), 0.2 * server * log_normal(random, 0.3));
    let server_ms = server * level * log_normal(random, 0.35) + queue_ms + database_ms;
    let effects = link_effects(random, link, bytes);
    let outcome = outcome(random, link, effects.retransmits.1);
    let ok = outcome == Outcome::Ok;
    let connected = outcome != Outcome::ConnectFailed;
    let connect_ms = effects.base_ms * log_normal(random, 0.02).max(1.0) + effects.syn_stall_ms;
    let rtt_ms = server_ms + effects.base_ms + effects.link_ms + effects.stall_ms + 0.05 * log_normal(random, 0.3);
    let client_ms = 0.04 * log_normal(random, 0.3);
    let service_ms = if outcome == Outcome::Timeout { 5000.0 } else { connect_ms + rtt_ms + client_ms };
    Sample {
        client: format!("client-{}", 1 + sequence % 8),
        sequence,
        start_us: sequence as i64 * 20_000,
        connect_ms: connected.then_some(connect_ms),
        first_byte_ms: ok.then_some(rtt_ms - effects.link_ms / 2.0),
        rtt_ms: ok.then_some(rtt_ms),
        server_ms: ok.then_some(server_ms),
        server_queue_ms: ok.then_some(queue_ms),
        server_database_ms: ok.then_some(database_ms),
        tcp_rtt_ms: connected.then_some(effects.base_ms * 1.05),
        tcp_min_rtt_ms: connected.then_some(effects.base_ms),
        tcp_rto_ms: connected.then_some(200.0 + effects.base_ms),
        tcp_retransmits: Some(effects.retransmits.0),
        exchange_id: connected.then_some(sequence),
        server_tcp_rtt_ms: ok.then_some(effects.base_ms * 1.05 + effects.link_ms / 4.0),
        server_tcp_rto_ms: ok.then_some(200.0 + effects.base_ms),
        server_tcp_retransmits: connected.then_some(2 * effects.retransmits.0 + effects.retransmits.1),
        request_bytes: Some(120),
        response_bytes: ok.then_some(bytes as u64),
        ..Sample::with_latency(operation, outcome, service_ms)
    }
}

fn outcome(random: &mut ChaCha8Rng, link: Link, lost: u32) -> Outcome {
    let uniform = random.random::<f64>();
    match lost {
        3.. => Outcome::Timeout,
        2 if uniform < 0.3 => Outcome::Reset,
        1.. if uniform < 0.05 => Outcome::ConnectFailed,
        _ if link.loss > 0.0 && uniform < 0.004 => Outcome::Refused,
        _ => Outcome::Ok,
    }
}

/// Draws a factor around 1 with the given spread (Box and Muller's transform of two uniform numbers).
fn log_normal(random: &mut ChaCha8Rng, sigma: f64) -> f64 {
    let (u, v): (f64, f64) = (1.0 - random.random::<f64>(), random.random());
    ((-2.0 * u.ln()).sqrt() * (v * std::f64::consts::TAU).cos() * sigma).exp()
}
