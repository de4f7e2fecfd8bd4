//! The clients of one cell: started, held until the condition is in force, let go together, watched, collected.

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

/// How long a client may take to get ready; accounts may have to be made first.
const READY_TIMEOUT: Duration = Duration::from_secs(150);
/// A client that says nothing for so long hangs: it reports twice a second.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client that is told to stop may take: it gives operations under way one second.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// How a client's part in the cell ended.
#[derive(Debug, Clone)]
enum ClientExit {
    /// It said `done`.
    Done,
    /// It hung or died; why.
    Failed(String),
}

/// One client of a cell.
struct Client {
    node: Node,
    /// `None` when it could not even be started.
    process: Option<NodeProcess>,
    /// `None` while it is under way.
    end: Option<ClientExit>,
    /// Where its stderr goes.
    log: PathBuf,
}

/// The clients of one cell.
pub(crate) struct ClientGroup {
    clients: Vec<Client>,
    counts: LiveCounts,
}

/// The rows of all clients.
#[derive(Default)]
pub(crate) struct Collected {
    /// Rows.
    pub(crate) samples: Vec<Sample>,
    /// What is missing, a line for each client.
    pub(crate) problems: Vec<String>,
}

/// Where a client writes its samples.
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
        options.into_iter().chain(pace(scenario, number)).flat_map(|(name, value)| [name.to_owned(), value]);
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

/// When operations begin: by the shopper's thinking, or by the client's part of a timetable. Clients with even
/// distances take turns.
fn pace(scenario: &Scenario, client: u32) -> Vec<(&'static str, String)> {
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
    /// Starts all clients and waits until each is ready. Those that don't get ready are part of the crew as failed.
    ///
    /// # Errors
    /// When the folder for their logs can't be made, or Ctrl-C comes.
    pub(crate) async fn start(
        environment: &Environment<'_>,
        cell: &Cell,
        run: &CellContext<'_>,
    ) -> anyhow::Result<Self> {
        let logs = run.folder.logs().join(&cell.id);
        std::fs::create_dir_all(&logs).with_context(|| format!("making the folder {}", logs.display()))?;
        let started = (1..=run.scenario.clients).map(Node::Client).map(|node| {
            let command = workload(environment, node, cell, run.scenario, run.run_id);
            let log = logs.join(format!("{node}.log"));
            async move { Client::start(environment, node, &command, log).await }
        });
        let clients = tokio::select! {
            clients = join_all(started) => clients,
            // Clients that have started lose their stdin with their handle, or their node at the run's end.
            () = run.stop.cancelled() => bail!("interrupted while the clients got ready"),
        };
        let counts = LiveCounts::new(clients.len());
        Ok(Self { clients, counts })
    }

    /// Whether no client has failed so far.
    pub(crate) fn is_well(&self) -> bool {
        self.clients.iter().all(|client| !matches!(client.end, Some(ClientExit::Failed(_))))
    }

    /// The nodes of failed clients.
    pub(crate) fn broken(&self) -> Vec<Node> {
        self.failed().map(|(client, _)| client.node).collect()
    }

    /// What went wrong, a line for each failed client.
    pub(crate) fn failures(&self) -> Vec<String> {
        self.failed().map(|(client, why)| format!("{} {why}: {}", client.node, log_tail(&client.log))).collect()
    }

    fn failed(&self) -> impl Iterator<Item = (&Client, &String)> {
        self.clients.iter().filter_map(|client| match &client.end {
            Some(ClientExit::Failed(why)) => Some((client, why)),
            _ => None,
        })
    }

    /// Where the counts can be watched.
    pub(crate) fn counts(&self) -> LiveCounts {
        self.counts.clone()
    }

    /// Lets all clients go at once.
    pub(crate) async fn go(&mut self) -> anyhow::Result<()> {
        let processes = self.clients.iter_mut().filter_map(|client| client.process.as_mut());
        try_join_all(processes.map(|process| process.write_line(GO))).await.map(drop)
    }

    /// Follows the clients until each has ended; `stop` makes them end early. May be dropped and called again.
    pub(crate) async fn follow(&mut self, stop: &CancellationToken) {
        let counts = &self.counts;
        let under_way = self.clients.iter_mut().enumerate().filter(|(_, client)| client.end.is_none());
        join_all(under_way.map(|(index, client)| async move {
            if let Some(process) = &mut client.process {
                client.end = Some(follow(process, counts, index, stop).await);
            }
        }))
        .await;
    }

    /// Stops all clients before their time.
    pub(crate) async fn stop(&mut self) {
        let stop = CancellationToken::new();
        stop.cancel();
        self.follow(&stop).await;
    }

    /// Fetches the CSVs. Rows that are missing, cut short or of another cell are problems.
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
            let (told, rows) = (self.counts.of(index).operations, parsed.samples.len());
            let is_short = matches!(client.end, Some(ClientExit::Done)) && told != rows as u64;
            let short = is_short.then(|| format!("{rows} rows, but it told of {told} operations"));
            let problem = parsed.problem.or(short);
            collected.problems.extend(problem.map(|why| format!("{}: its samples are incomplete: {why}", client.node)));
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
            Ok(other) => Some(ClientExit::Failed(format!("should have said that it is ready, but said {other:?}"))),
            Err(error) => Some(ClientExit::Failed(format!("{error:#}"))),
        };
        if end.is_some() {
            process.close_stdin().await;
        }
        Self { node, process: Some(process), end, log }
    }
}

/// Follows one client to its end.
async fn follow(process: &mut NodeProcess, counts: &LiveCounts, index: usize, stop: &CancellationToken) -> ClientExit {
    loop {
        let event = tokio::select! {
            event = timeout(SILENCE_TIMEOUT, process.next_event()) => event,
            () = stop.cancelled() => return stop_client(process, counts, index).await,
        };
        match event {
            Ok(Some(event)) => {
                if counts.note(index, event) {
                    return ClientExit::Done;
                }
            }
            Ok(None) => return ClientExit::Failed(format!("ended early with exit code {}", process.ended().await)),
            Err(_) => return ClientExit::Failed(format!("said nothing for {} s", SILENCE_TIMEOUT.as_secs())),
        }
    }
}

async fn stop_client(process: &mut NodeProcess, counts: &LiveCounts, index: usize) -> ClientExit {
    process.close_stdin().await;
    let stopped = timeout(STOP_TIMEOUT, async {
        while let Some(event) = process.next_event().await {
            if counts.note(index, event) {
                return true;
            }
        }
        false
    });
    match stopped.await {
        Ok(true) => ClientExit::Done,
        Ok(false) => ClientExit::Failed("ended without its last word".to_owned()),
        Err(_) => ClientExit::Failed(format!("did not stop within {} s", STOP_TIMEOUT.as_secs())),
    }
}
