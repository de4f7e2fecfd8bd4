//! The clients of one cell: starts them, sends the start signal to all at the same time, follows them, and collects
//! their samples.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use client::workload::WorkloadConfig;
use futures_util::future::{join_all, try_join_all};
use model::messages::workload::{Event, GO};
use model::sample::Sample;
use model::settings::Workload;
use model::units::PositiveDuration;
use model::{ArrivalRate, Cell, HumanDuration};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::backend::node_process::NodeProcess;
use crate::backend::{Backend, Node, NodeCommand, log_tail};
use crate::program::Program;
use crate::run::cell_context::CellContext;
use crate::run::environment::Environment;
use crate::run::live_counts::LiveCounts;
use crate::run::server::{ADMIN, ADMIN_PASSWORD};
use crate::scenario::plan::split_mix;
use crate::store::run_directory::ParsedSamples;

/// Timeout of creating all accounts of a client.
const PREPARE_TIMEOUT: PositiveDuration = PositiveDuration::seconds(120);
/// Timeout of a client's start: longer than [`PREPARE_TIMEOUT`], so that the client itself reports what failed.
const READY_TIMEOUT: Duration = Duration::from_secs(150);
/// A client without an event for this long hangs: it reports progress twice a second.
const EVENT_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of a client's graceful stop: its operations in flight have a grace period of one second.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// How a client ended.
#[derive(Debug, Clone)]
enum ClientExit {
    /// With the event `done`.
    Done,
    /// It hung or exited early, with the reason.
    Failed(String),
}

/// One client of a cell.
struct Client {
    node: Node,
    /// `None` if it could not be started.
    process: Option<NodeProcess>,
    /// Whether it has been ready. Otherwise its CSV may be that of the previous cell.
    was_ready: bool,
    /// `None` while it runs.
    end: Option<ClientExit>,
    /// File with its stderr.
    log: PathBuf,
}

/// The clients of one cell.
pub(crate) struct ClientGroup {
    clients: Vec<Client>,
    counts: LiveCounts,
}

/// Samples of all clients.
#[derive(Default)]
pub(crate) struct Collected {
    /// Complete rows.
    pub(crate) samples: Vec<Sample>,
    /// Missing rows, one line for each client concerned.
    pub(crate) problems: Vec<String>,
}

fn csv_path(backend: &dyn Backend, node: Node) -> String {
    format!("{}/samples.csv", backend.work_dir(node))
}

/// Returns the command that starts client `number` of a cell.
fn command(environment: &Environment, number: u32, cell: &Cell, run: &CellContext<'_>) -> anyhow::Result<NodeCommand> {
    let config =
        serde_json::to_string(&config(environment, number, cell, run)).context("the client's configuration")?;
    let command = NodeCommand::program(Program::ShopClient, ["workload", "--config", &config]);
    Ok(match environment.admin_password() {
        Some(password) => command.env(ADMIN_PASSWORD, password),
        None => command,
    })
}

fn config(environment: &Environment, number: u32, cell: &Cell, run: &CellContext<'_>) -> WorkloadConfig {
    let (node, scenario, shop) = (Node::Client(number), run.scenario, environment.backend.shop());
    let arrival_rate = scenario.workload.arrival_rate;
    WorkloadConfig {
        shop: client::transport::ShopAddress {
            server: shop.host,
            accounts_port: shop.accounts_port,
            shop_port: shop.shop_port,
            tls: scenario.shop.tls,
            tls_fingerprint: environment.tls_fingerprint(),
        },
        warm_up: scenario.warm_up,
        duration: Some(scenario.duration.widen()),
        operations: None,
        arrival_offset: arrival_rate.map(|rate| arrival_offset(rate, number)).unwrap_or_default(),
        prepare_timeout: PREPARE_TIMEOUT,
        seed: Some(split_mix(cell.workload_seed, u64::from(number))),
        client: node.to_string(),
        account_scope: vec![run.run_id.to_owned(), cell.id.clone(), cell.repetition.to_string()],
        csv: csv_path(environment.backend.as_ref(), node).into(),
        admin_username: environment.admin_password().is_some().then(|| ADMIN.to_owned()),
        admin_password_file: None,
        control: true,
        workload: Workload {
            arrival_rate: arrival_rate.map(|rate| rate.per_client(scenario.clients.get())),
            ..scenario.workload.clone()
        },
    }
}

/// Returns the delay of a client's first constant arrival, so that the arrivals of all clients alternate.
fn arrival_offset(rate: ArrivalRate, client: u32) -> HumanDuration {
    let microseconds = f64::from(client.saturating_sub(1)) / rate.per_second() * 1e6;
    HumanDuration::from_micros(microseconds.round() as u64)
}

impl ClientGroup {
    /// Starts all clients and waits until each is ready or has failed.
    ///
    /// # Errors
    /// When the directory for their logs cannot be created, or after an interrupt.
    pub(crate) async fn start(environment: &Environment, cell: &Cell, run: &CellContext<'_>) -> anyhow::Result<Self> {
        let logs = run.directory.logs().join(&cell.id);
        std::fs::create_dir_all(&logs).with_context(|| format!("creating {}", logs.display()))?;
        let commands: Vec<NodeCommand> = (1..=run.scenario.clients.get())
            .map(|number| command(environment, number, cell, run))
            .collect::<anyhow::Result<_>>()?;
        let started = commands.iter().zip(1..).map(|(command, number)| {
            let node = Node::Client(number);
            let log = logs.join(format!("{node}.log"));
            async move { Client::start(environment, node, command, log).await }
        });
        let clients = tokio::select! {
            clients = join_all(started) => clients,
            // Clients that have started stop: dropping their handles closes their stdin.
            () = run.stop.cancelled() => bail!("interrupted while clients were starting"),
        };
        let counts = LiveCounts::new(clients.len());
        Ok(Self { clients, counts })
    }

    /// Returns whether no client has failed so far.
    pub(crate) fn is_healthy(&self) -> bool {
        self.clients.iter().all(|client| !matches!(client.end, Some(ClientExit::Failed(_))))
    }

    /// Returns the nodes of failed clients.
    pub(crate) fn broken(&self) -> Vec<Node> {
        self.failed().map(|(client, _)| client.node).collect()
    }

    /// Returns the reasons of failures, one line for each failed client.
    pub(crate) fn failures(&self) -> Vec<String> {
        self.failed().map(|(client, reason)| format!("{}: {reason}: {}", client.node, log_tail(&client.log))).collect()
    }

    fn failed(&self) -> impl Iterator<Item = (&Client, &String)> {
        self.clients.iter().filter_map(|client| match &client.end {
            Some(ClientExit::Failed(reason)) => Some((client, reason)),
            _ => None,
        })
    }

    /// Returns the counts, which are updated while [`ClientGroup::follow`] runs.
    pub(crate) fn counts(&self) -> LiveCounts {
        self.counts.clone()
    }

    /// Sends the start signal to all clients.
    ///
    /// # Errors
    /// When a client does not accept it.
    pub(crate) async fn go(&mut self) -> anyhow::Result<()> {
        let processes = self.clients.iter_mut().filter_map(|client| client.process.as_mut());
        try_join_all(processes.map(|process| process.write_line(GO))).await.map(drop)
    }

    /// Follows the clients until each has ended. `stop` ends them early. Cancel safe: it may be dropped and called
    /// again.
    pub(crate) async fn follow(&mut self, stop: &CancellationToken) {
        let counts = &self.counts;
        let running = self.clients.iter_mut().enumerate().filter(|(_, client)| client.end.is_none());
        join_all(running.map(|(index, client)| async move {
            if let Some(process) = &mut client.process {
                client.end = Some(follow(process, counts, index, stop).await);
            }
        }))
        .await;
    }

    /// Stops all clients early.
    pub(crate) async fn stop(&mut self) {
        let stop = CancellationToken::new();
        stop.cancel();
        self.follow(&stop).await;
    }

    /// Fetches the samples. Missing or incomplete rows are problems.
    pub(crate) async fn collect(&self, environment: &Environment) -> Collected {
        let ready = self.clients.iter().enumerate().filter(|(_, client)| client.was_ready);
        let fetched = ready.map(|(index, client)| {
            let path = csv_path(environment.backend.as_ref(), client.node);
            async move { (index, client, environment.backend.get_file(client.node, &path).await) }
        });
        let mut collected = Collected::default();
        for (index, client, csv) in join_all(fetched).await {
            let parsed = match csv {
                Ok(csv) => ParsedSamples::read(&csv),
                Err(error) => ParsedSamples { samples: Vec::new(), problem: Some(format!("{error:#}")) },
            };
            let (reported, rows) = (self.counts.of(index).operations, parsed.samples.len());
            let is_short = matches!(client.end, Some(ClientExit::Done)) && reported != rows as u64;
            let short = is_short.then(|| format!("{rows} rows in its CSV, {reported} operations reported"));
            let problem = parsed.problem.or(short);
            collected.problems.extend(problem.map(|reason| format!("{}: incomplete samples: {reason}", client.node)));
            collected.samples.extend(parsed.samples);
        }
        collected
    }
}

impl Client {
    async fn start(environment: &Environment, node: Node, command: &NodeCommand, log: PathBuf) -> Self {
        let mut process = match environment.backend.spawn(node, command, &log).await {
            Ok(process) => process,
            Err(error) => {
                return Self {
                    node,
                    process: None,
                    was_ready: false,
                    end: Some(ClientExit::Failed(format!("{error:#}"))),
                    log,
                };
            }
        };
        let end = match process.first_event(READY_TIMEOUT).await {
            Ok(Event::Ready) => None,
            Ok(other) => Some(ClientExit::Failed(format!("expected event 'ready', got {other:?}"))),
            Err(error) => Some(ClientExit::Failed(format!("{error:#}"))),
        };
        if end.is_some() {
            process.close_stdin().await;
        }
        Self { node, process: Some(process), was_ready: end.is_none(), end, log }
    }
}

/// Follows one client until it ends.
async fn follow(process: &mut NodeProcess, counts: &LiveCounts, index: usize, stop: &CancellationToken) -> ClientExit {
    loop {
        let event = tokio::select! {
            event = timeout(EVENT_TIMEOUT, process.next_event()) => event,
            () = stop.cancelled() => return stop_client(process, counts, index).await,
        };
        match event {
            Ok(Some(event)) => {
                if counts.update(index, event) {
                    return ClientExit::Done;
                }
            }
            Ok(None) => return ClientExit::Failed(format!("exited early with code {}", process.ended().await)),
            Err(_) => return ClientExit::Failed(format!("no event for {} s", EVENT_TIMEOUT.as_secs())),
        }
    }
}

async fn stop_client(process: &mut NodeProcess, counts: &LiveCounts, index: usize) -> ClientExit {
    process.close_stdin().await;
    let stopped = timeout(STOP_TIMEOUT, async {
        while let Some(event) = process.next_event().await {
            if counts.update(index, event) {
                return true;
            }
        }
        false
    });
    match stopped.await {
        Ok(true) => ClientExit::Done,
        Ok(false) => ClientExit::Failed("exited without event 'done'".to_owned()),
        Err(_) => ClientExit::Failed(format!("did not stop within {} s", STOP_TIMEOUT.as_secs())),
    }
}
