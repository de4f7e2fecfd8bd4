//! The clients of one cell: starts them, sends the start signal to all at the same time, follows them, and collects
//! their samples.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::future::{join_all, try_join_all};
use model::Cell;
use model::messages::workload::{Event, GO};
use model::sample::Sample;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::backend::node_process::NodeProcess;
use crate::backend::{Backend, Node, NodeCommand, log_tail};
use crate::program::Program;
use crate::run::cell::CellContext;
use crate::run::environment::{ADMIN, ADMIN_PASSWORD, Environment};
use crate::run::live_counts::LiveCounts;
use crate::scenario::plan::split_mix;
use crate::scenario::{Arrivals, Scenario};
use crate::store::run_directory::ParsedSamples;

/// Timeout of a client's start, which may create accounts.
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
    format!("{}/samples.csv", backend.folder(node))
}

fn workload(environment: &Environment<'_>, node: Node, cell: &Cell, scenario: &Scenario, run_id: &str) -> NodeCommand {
    let workload = &scenario.workload;
    let number = if let Node::Client(number) = node { number } else { 0 };
    let shop = environment.backend.shop();
    let options = [
        ("--server", shop.host.clone()),
        ("--accounts-port", shop.accounts_port.to_string()),
        ("--shop-port", shop.shop_port.to_string()),
        ("--csv", csv_path(environment.backend, node)),
        ("--users", workload.users.to_string()),
        ("--warm-up", scenario.warm_up.to_string()),
        ("--duration", scenario.duration.to_string()),
        ("--connection", workload.connection.as_str().to_owned()),
        ("--accounts", workload.accounts.as_str().to_owned()),
        ("--page-size", workload.page_size.to_string()),
        ("--request-timeout", workload.request_timeout.to_string()),
        ("--connect-timeout", workload.connect_timeout.to_string()),
        ("--seed", split_mix(cell.workload_seed, u64::from(number)).to_string()),
        ("--run-id", run_id.to_owned()),
        ("--cell", cell.id.clone()),
        ("--condition", cell.swept_parameter.as_str().to_owned()),
        ("--value", cell.value.clone()),
        ("--repetition", cell.repetition.to_string()),
        ("--client", node.to_string()),
    ];
    let arguments =
        options.into_iter().chain(start_options(scenario, number)).flat_map(|(name, value)| [name.to_owned(), value]);
    let mut arguments: Vec<String> =
        ["workload".to_owned(), "--control".to_owned()].into_iter().chain(arguments).collect();
    match &environment.admin_password {
        Some(password) => {
            arguments.extend(["--admin-username".to_owned(), ADMIN.to_owned()]);
            NodeCommand::program(Program::ShopClient, arguments).env(ADMIN_PASSWORD, password)
        }
        None => NodeCommand::program(Program::ShopClient, arguments),
    }
}

/// Returns the options that decide when operations start: the think time, or the client's share of the arrival rate.
/// With constant intervals, the clients' schedules are offset so that their arrivals alternate.
fn start_options(scenario: &Scenario, client: u32) -> Vec<(&'static str, String)> {
    let workload = &scenario.workload;
    let Some(rate) = workload.arrival_rate else { return vec![("--think-time", workload.think_time.to_string())] };
    let mut options = vec![
        ("--arrival-rate", rate.share(scenario.clients).to_string()),
        ("--arrivals", workload.arrivals.as_str().to_owned()),
    ];
    if workload.arrivals == Arrivals::Constant {
        let microseconds = f64::from(client.saturating_sub(1)) / rate.per_second() * 1e6;
        options.push(("--arrival-offset", format!("{microseconds:.0}us")));
    }
    options
}

impl ClientGroup {
    /// Starts all clients and waits until each is ready or has failed.
    ///
    /// # Errors
    /// When the directory for their logs cannot be created, or after an interrupt.
    pub(crate) async fn start(
        environment: &Environment<'_>,
        cell: &Cell,
        run: &CellContext<'_>,
    ) -> anyhow::Result<Self> {
        let logs = run.directory.logs().join(&cell.id);
        std::fs::create_dir_all(&logs).with_context(|| format!("creating {}", logs.display()))?;
        let started = (1..=run.scenario.clients).map(Node::Client).map(|node| {
            let command = workload(environment, node, cell, run.scenario, run.run_id);
            let log = logs.join(format!("{node}.log"));
            async move { Client::start(environment, node, &command, log).await }
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

    /// Fetches the samples. Rows that are missing, incomplete or of another cell are problems.
    pub(crate) async fn collect(&self, environment: &Environment<'_>, cell: &str) -> Collected {
        let started = self.clients.iter().enumerate().filter(|(_, client)| client.process.is_some());
        let fetched = started.map(|(index, client)| {
            let path = csv_path(environment.backend, client.node);
            async move { (index, client, environment.backend.get_file(client.node, &path).await) }
        });
        let mut collected = Collected::default();
        for (index, client, csv) in join_all(fetched).await {
            let parsed = match csv {
                Ok(csv) => ParsedSamples::read(&csv, cell),
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
    async fn start(environment: &Environment<'_>, node: Node, command: &NodeCommand, log: PathBuf) -> Self {
        let mut process = match environment.backend.spawn(node, command, &log).await {
            Ok(process) => process,
            Err(error) => {
                return Self { node, process: None, end: Some(ClientExit::Failed(format!("{error:#}"))), log };
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
        Self { node, process: Some(process), end, log }
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
