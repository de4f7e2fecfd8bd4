//! `testbed run`: from a scenario to a folder of results. The table of contents of the driver.

pub(crate) mod audit;
mod board;
mod cell;
mod cell_line;
mod clients;
mod errors;
mod evidence;
mod gate;
pub(crate) mod lab;
mod one_lab;
mod overload;
mod precision;
mod prober;
mod programs;
mod progress;
mod resume;
mod session;
mod stall;
mod trace;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use futures_util::future::join_all;
use testbed_analysis::Format;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::emulator::EmulatorChoice;
use crate::engine::{Engine, Engines};
use crate::host;
use crate::jobs::Jobs;
use crate::log;
use crate::manifest::{Control, Ending, Manifest, Place, SHAPED_DIRECTION, remarks};
use crate::output::{complain, say};
use crate::plan::{self, Cell};
use crate::report::{self, ReportRequest};
use crate::results::RunFolder;
use crate::run_id::UtcTime;
use crate::scenario::Scenario;
pub(crate) use resume::Earlier;
use session::Session;

/// A run, resolved.
pub(crate) struct RunRequest {
    /// What to run.
    pub(crate) scenario: Scenario,
    /// Seed of everything random.
    pub(crate) seed: u64,
    /// The run's id.
    pub(crate) run_id: String,
    /// The driver's temporary folder, locked while it lives.
    pub(crate) temporary: PathBuf,
    /// Where run folders go.
    pub(crate) results: PathBuf,
    /// The run that is gone on with, if one is.
    pub(crate) earlier: Option<Earlier>,
    /// Where pictures go.
    pub(crate) graphs: PathBuf,
    /// How the table is printed.
    pub(crate) format: Format,
    /// The wanted emulator.
    pub(crate) emulator: EmulatorChoice,
    /// How many cells may be measured beside each other.
    pub(crate) jobs: Jobs,
    /// Why this engine.
    pub(crate) why_engine: String,
    /// Which engines and hosts were named.
    pub(crate) place: Place,
    /// When the command was given.
    pub(crate) began: Instant,
}

/// How a run went, for the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunEnd {
    /// All cells were measured and proved, on a machine that was not too busy.
    Proved,
    /// Some were not.
    Doubtful,
    /// Ctrl-C.
    Interrupted,
}

/// Runs it. Nodes are removed whatever happens, and what was measured is saved and drawn.
pub(crate) async fn run(engines: Engines, mut request: RunRequest, stop: CancellationToken) -> anyhow::Result<RunEnd> {
    let cells = plan::cells(&request.scenario, request.seed);
    let labs = request.jobs.labs(cells.len(), engines.why_one())?;
    let engines = engines.for_labs(labs);
    let first = engines.first().context("a run needs an engine")?;
    let (has_server, engine) = (first.has_server(), first.name());
    let manifest = first_manifest(first.as_ref(), &request, &cells).await?;
    let (folder, manifest, measured) = match request.earlier.take() {
        Some(earlier) => earlier.go_on(manifest)?,
        None => (RunFolder::create(&request.results, &request.run_id)?, manifest, Default::default()),
    };
    folder.write_manifest(&manifest)?;
    log::write_to(&folder.logs())?;
    let session = Session::new(&request, folder, &cells, manifest, measured, stop.child_token());
    say(&format!("run {}: {} cells", request.run_id, session.left()));
    say(&format!("engine {engine}"));
    tracing::debug!("{}", request.why_engine);

    let ran = tokio::select! {
        ran = run_labs(&session, engines) => ran,
        never = session.progress.keep_drawing() => match never {},
    };
    session.progress.finish();
    session.write(|manifest| {
        manifest.ended = Some(UtcTime::now().to_string());
        manifest.ending = match &ran {
            _ if stop.is_cancelled() => Ending::Interrupted,
            Ok(()) => Ending::Complete,
            Err(_) => Ending::Failed,
        };
        manifest.failure = ran.as_ref().err().map(|error| format!("{error:#}"));
        manifest.most_cells_at_once = session.gate.most();
    })?;
    if session.rows().iter().any(|row| row.operations > 0) {
        report::report(&session.folder, &ReportRequest { graphs: request.graphs.clone(), format: request.format })?;
    }
    say(&format!("results: {}", session.folder.path().display()));
    if stop.is_cancelled() {
        ran.err().into_iter().for_each(|error| complain(&format!("{error:#}")));
        say(&format!(
            "interrupted; to measure the cells that are missing: testbed run --resume {}",
            session.folder.path().display()
        ));
        return Ok(RunEnd::Interrupted);
    }
    ran?;
    let books_agree = !has_server || session.books_agree();
    Ok(if session.is_all_well() && books_agree { RunEnd::Proved } else { RunEnd::Doubtful })
}

/// Runs all labs to their end; the first failure ends them all.
async fn run_labs(session: &Session<'_>, engines: Vec<Box<dyn Engine>>) -> anyhow::Result<()> {
    let (first, _) = watch::channel(None);
    let lives = engines.into_iter().zip(1..).map(|(engine, number)| {
        let first = &first;
        async move {
            let ended = one_lab::live(session, engine, number, first).await;
            if ended.is_err() {
                session.stop.cancel();
            }
            ended
        }
    });
    let mut failures: Vec<anyhow::Error> = join_all(lives).await.into_iter().filter_map(Result::err).collect();
    session.tell_books();
    // One of them is returned, and told by whoever asked.
    let last = failures.pop();
    failures.iter().for_each(|failure| complain(&format!("{failure:#}")));
    last.map_or(Ok(()), Err)
}

async fn first_manifest(engine: &dyn Engine, request: &RunRequest, cells: &[Cell]) -> anyhow::Result<Manifest> {
    Ok(Manifest {
        run_id: request.run_id.clone(),
        ending: Ending::Unfinished,
        failure: None,
        started: UtcTime::now().to_string(),
        ended: None,
        testbed_version: shop_protocol::VERSION.to_owned(),
        programs_version: None,
        command_line: std::env::args().collect(),
        scenario: request.scenario.clone(),
        seed: request.seed,
        plan: cells.to_vec(),
        order: plan::order(cells, request.seed).into_iter().map(|place| cells[place].id.clone()).collect(),
        passed_over: Vec::new(),
        most_cells_at_once: 0,
        earlier_parts: Vec::new(),
        engine: engine.name().to_owned(),
        why_engine: request.why_engine.clone(),
        place: request.place.clone(),
        engine_facts: engine.facts().await?,
        emulator: String::new(),
        why_emulator: String::new(),
        shaped_direction: SHAPED_DIRECTION.to_owned(),
        sysctls: BTreeMap::new(),
        database_filesystem: None,
        host: host::facts(),
        floor_rtt_ms: None,
        setup_seconds: None,
        nodes_up_seconds: None,
        audit: None,
        books_unchecked: false,
        remarks: remarks(&request.scenario, engine.has_server()),
        condition_control: if engine.has_server() { Control::Testbed } else { Control::ByHand },
    })
}
