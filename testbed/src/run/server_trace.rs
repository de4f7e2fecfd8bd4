//! Joins the server's TCP statistics to the clients' samples, by exchange id.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use model::{Sample, TraceRow};

use crate::backend::{Backend, Node, NodeCommand};
use crate::run::environment::Environment;

/// Timeout for rows of the last exchanges: the server writes a row shortly after the connection has ended.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Returns the file in the server's node that the trace is written to.
pub(super) fn path(backend: &dyn Backend) -> String {
    format!("{}/exchanges.csv", backend.folder(Node::Server))
}

/// Moves the rows of the trace into the samples. Returns the number of exchanges without a row.
///
/// # Errors
/// When the trace cannot be fetched or parsed.
pub(super) async fn join(environment: &Environment<'_>, samples: &mut [Sample]) -> anyhow::Result<usize> {
    let mut by_exchange: HashMap<u64, &mut Sample> =
        samples.iter_mut().filter_map(|sample| Some((sample.exchange_id?, sample))).collect();
    let deadline = Instant::now() + FLUSH_TIMEOUT;
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
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Returns the rows since the last call. Renaming the file makes the server continue in a new one.
async fn take(environment: &Environment<'_>) -> anyhow::Result<Vec<TraceRow>> {
    let path = path(environment.backend);
    let taken = format!("{path}.taken");
    let rename = NodeCommand::installed("mv", [&path, &taken]);
    let renamed = environment.backend.exec(Node::Server, &rename).await?;
    if renamed.code != 0 {
        // There is no file: no row has been written since the last call.
        return Ok(Vec::new());
    }
    let csv = environment.backend.get_file(Node::Server, &taken).await.context("fetching the server's trace")?;
    csv::Reader::from_reader(csv.as_slice())
        .deserialize()
        .collect::<Result<_, _>>()
        .context("parsing the server's trace")
}
