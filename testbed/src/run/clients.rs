//! The clients of one cell: started, held until the condition is in force, let go together, watched, collected.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::future::{join_all, try_join_all};
use shop_client::control::{Event, GO};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::lab::{ADMIN, ADMIN_PASSWORD, Lab};
use crate::engine::process::Process;
use crate::engine::{Engine, Node, NodeCommand, last_lines};
use crate::plan::{Cell, split_mix};
use crate::program::Program;
use crate::results::RunFolder;
use crate::scenario::Scenario;

/// How long a client may take to get ready; accounts may have to be made first.
const READY_LIMIT: Duration = Duration::from_secs(150);
/// A client that says nothing for so long hangs: it reports twice a second.
const SILENCE_LIMIT: Duration = Duration::from_secs(10);
/// How long a client that is told to stop may take: it gives operations under way one second.
const STOP_LIMIT: Duration = Duration::from_secs(8);

/// Operations and errors so far, over all clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Operations that ended.
    pub(crate) operations: u64,
    /// Of these, other than `ok`.
    pub(crate) errors: u64,
    /// Under way when clients had to stop.
    pub(crate) cut_off: u64,
}

/// Where the clients' counts meet; shared with the progress display.
#[derive(Clone, Default)]
pub(crate) struct Board(Rc<RefCell<Vec<Count>>>);

impl Board {
    /// The sum over all clients.
    pub(crate) fn total(&self) -> Count {
        self.0.borrow().iter().fold(Count::default(), |sum, count| Count {
            operations: sum.operations + count.operations,
            errors: sum.errors + count.errors,
            cut_off: sum.cut_off + count.cut_off,
        })
    }
}

/// How a client's part in the cell ended.
#[derive(Debug)]
enum End {
    /// It said `done`.
    Done,
    /// It hung or died; why.
    Failed(String),
}

/// The clients of one cell, ready to go.
pub(crate) struct Crew {
    clients: Vec<(Node, Process)>,
    board: Board,
}

/// What became of a crew.
pub(crate) struct CrewReport {
    /// What went wrong, a line for each client that failed.
    pub(crate) failures: Vec<String>,
    /// Nodes that must be renewed before the next cell.
    pub(crate) broken: Vec<Node>,
}

/// Where a client writes its samples.
fn csv_path(engine: &dyn Engine, node: Node) -> String {
    format!("{}/samples.csv", engine.folder(node))
}

fn log_name(node: Node) -> String {
    format!("{node}.log")
}

fn workload(lab: &Lab<'_>, node: Node, cell: &Cell, scenario: &Scenario, run_id: &str) -> NodeCommand {
    let workload = &scenario.workload;
    let number = if let Node::Client(number) = node { number } else { 0 };
    let options = [
        ("--server", lab.engine.server_address().to_string()),
        ("--csv", csv_path(lab.engine, node)),
        ("--users", workload.users.to_string()),
        ("--duration", scenario.duration.to_string()),
        ("--think-time", workload.think_time.to_string()),
        ("--connection", workload.connection.as_str().to_owned()),
        ("--accounts", workload.accounts.as_str().to_owned()),
        ("--page-size", workload.page_size.to_string()),
        ("--request-timeout", workload.request_timeout.to_string()),
        ("--connect-timeout", workload.connect_timeout.to_string()),
        ("--seed", split_mix(cell.seed, u64::from(number)).to_string()),
        ("--admin-username", ADMIN.to_owned()),
        ("--run-id", run_id.to_owned()),
        ("--cell", cell.id.clone()),
        ("--condition", cell.varied.as_str().to_owned()),
        ("--value", cell.value.clone()),
        ("--repetition", cell.repetition.to_string()),
        ("--client", node.to_string()),
    ];
    let arguments = options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
    let arguments = ["workload".to_owned(), "--control".to_owned()].into_iter().chain(arguments);
    NodeCommand::program(Program::ShopClient, arguments).env(ADMIN_PASSWORD, &lab.admin_password)
}

impl Crew {
    /// Starts all clients and waits until each is ready.
    pub(crate) async fn start(lab: &Lab<'_>, cell: &Cell, scenario: &Scenario, run_id: &str) -> anyhow::Result<Self> {
        let started = (1..=scenario.clients).map(Node::Client).map(|node| async move {
            let command = workload(lab, node, cell, scenario, run_id);
            let mut process = lab.engine.spawn(node, &command, &lab.logs.join(log_name(node))).await?;
            match process.first_event(READY_LIMIT).await {
                Ok(Event::Ready) => Ok((node, process)),
                Ok(other) => bail!("{node}: expected it to be ready, got {other:?}"),
                Err(error) => Err(error).with_context(|| format!("{node}: {}", log_end(lab, node))),
            }
        });
        let clients = try_join_all(started).await?;
        let board = Board(Rc::new(RefCell::new(vec![Count::default(); clients.len()])));
        Ok(Self { clients, board })
    }

    /// Where the counts can be watched.
    pub(crate) fn board(&self) -> Board {
        self.board.clone()
    }

    /// Lets all clients go at once.
    pub(crate) async fn go(&mut self) -> anyhow::Result<()> {
        try_join_all(self.clients.iter_mut().map(|(_, process)| process.write_line(GO))).await.map(drop)
    }

    /// Follows the clients until each has ended; `stop` makes them end early.
    pub(crate) async fn follow(&mut self, lab: &Lab<'_>, stop: &CancellationToken) -> CrewReport {
        let board = &self.board;
        let followed = self.clients.iter_mut().enumerate().map(|(index, (node, process))| async move {
            let end = follow(process, board, index, stop).await;
            (*node, end)
        });
        let mut report = CrewReport { failures: Vec::new(), broken: Vec::new() };
        for (node, end) in join_all(followed).await {
            if let End::Failed(why) = end {
                report.failures.push(format!("{node} {why}: {}", log_end(lab, node)));
                report.broken.push(node);
            }
        }
        report
    }

    /// Stops all clients before their time. Returns the nodes of those that did not stop.
    pub(crate) async fn abandon(&mut self, lab: &Lab<'_>) -> Vec<Node> {
        let stop = CancellationToken::new();
        stop.cancel();
        self.follow(lab, &stop).await.broken
    }

    /// Fetches the CSVs into the run's folder. A client whose rows are missing or cut short is a problem, told in words.
    pub(crate) async fn collect(&self, lab: &Lab<'_>, folder: &RunFolder) -> anyhow::Result<Vec<String>> {
        let fetched = self.clients.iter().map(|(node, _)| {
            let path = csv_path(lab.engine, *node);
            async move { (*node, lab.engine.get_file(*node, &path).await) }
        });
        let mut problems = Vec::new();
        for (node, csv) in join_all(fetched).await {
            match csv.and_then(|csv| folder.append_samples(&csv)) {
                Ok(_) => {}
                Err(error) => problems.push(format!("{node}: its samples are incomplete: {error:#}")),
            }
        }
        Ok(problems)
    }
}

fn log_end(lab: &Lab<'_>, node: Node) -> String {
    let text = std::fs::read_to_string(lab.logs.join(log_name(node))).unwrap_or_default();
    format!("its log ends with: {}", last_lines(&text, 3))
}

/// Follows one client to its end.
async fn follow(process: &mut Process, board: &Board, index: usize, stop: &CancellationToken) -> End {
    loop {
        let event = tokio::select! {
            event = timeout(SILENCE_LIMIT, process.next_event()) => event,
            () = stop.cancelled() => return stop_client(process, board, index).await,
        };
        match event {
            Ok(Some(event)) => {
                if board.note(index, event) {
                    return End::Done;
                }
            }
            Ok(None) => return End::Failed(format!("ended early with exit code {}", process.ended().await)),
            Err(_) => return End::Failed(format!("said nothing for {} s", SILENCE_LIMIT.as_secs())),
        }
    }
}

async fn stop_client(process: &mut Process, board: &Board, index: usize) -> End {
    process.close_stdin().await;
    let stopped = timeout(STOP_LIMIT, async {
        while let Some(event) = process.next_event().await {
            if board.note(index, event) {
                return true;
            }
        }
        false
    });
    match stopped.await {
        Ok(true) => End::Done,
        Ok(false) => End::Failed("ended without its last word".to_owned()),
        Err(_) => End::Failed(format!("did not stop within {} s", STOP_LIMIT.as_secs())),
    }
}

impl Board {
    /// Takes an event in; says whether it was the last.
    fn note(&self, index: usize, event: Event) -> bool {
        let (count, last) = match event {
            Event::Ready => return false,
            Event::Progress { operations, errors } => (Count { operations, errors, cut_off: 0 }, false),
            Event::Done { operations, errors, cut_off } => (Count { operations, errors, cut_off }, true),
        };
        if let Some(place) = self.0.borrow_mut().get_mut(index) {
            *place = count;
        }
        last
    }
}
