//! What only the server's side of a connection can tell, joined to the clients' samples by the number of the exchange.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use model::{Sample, TraceRow};

use crate::backend::{Backend, Node, NodeCommand};
use crate::run::environment::Environment;

/// How long rows of exchanges that have just ended are waited for: the server writes them a moment after the
/// connection's end.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often they are looked for.
const STEP: Duration = Duration::from_millis(100);

/// Where the server writes it.
pub(super) fn path(backend: &dyn Backend) -> String {
    format!("{}/exchanges.csv", backend.folder(Node::Server))
}

/// Takes the rows that the server has written into the samples, and the file away. Gives how many exchanges there was
/// no row for.
///
/// # Errors
/// When the file can't be had.
pub(super) async fn join(environment: &Environment<'_>, samples: &mut [Sample]) -> anyhow::Result<usize> {
    let mut by_exchange: HashMap<u64, &mut Sample> =
        samples.iter_mut().filter_map(|sample| Some((sample.exchange_id?, sample))).collect();
    let deadline = Instant::now() + PATIENCE;
    loop {
        for row in take(environment).await? {
            if let Some(sample) = by_exchange.remove(&row.exchange_id) {
                let milliseconds = |microseconds: u64| microseconds as f64 / 1e3;
                sample.server_tcp_rtt_ms = row.tcp_rtt_us.map(milliseconds);
                sample.server_tcp_rto_ms = row.tcp_rto_us.map(milliseconds);
                sample.server_tcp_retransmits = row.retransmits;
            }
        }
        if by_exchange.is_empty() || Instant::now() > deadline {
            return Ok(by_exchange.len());
        }
        tokio::time::sleep(STEP).await;
    }
}

/// The rows since the last time: the server goes on with a new file when it finds that this one has been moved away.
async fn take(environment: &Environment<'_>) -> anyhow::Result<Vec<TraceRow>> {
    let path = path(environment.backend);
    let taken = format!("{path}.taken");
    let away = NodeCommand::installed("mv", [&path, &taken]);
    let moved = environment.backend.exec(Node::Server, &away).await?;
    if moved.code != 0 {
        // Nothing was written since.
        return Ok(Vec::new());
    }
    let csv = environment.backend.get_file(Node::Server, &taken).await.context("fetching the server's trace")?;
    csv::Reader::from_reader(csv.as_slice())
        .deserialize()
        .collect::<Result<_, _>>()
        .context("reading the server's trace")
}
