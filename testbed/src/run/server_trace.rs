//! Joins the server's TCP statistics to the clients' samples, by exchange id.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use model::Sample;

use crate::run::server::Server;

/// Timeout for rows of the last exchanges: the server writes a row shortly after the connection has ended.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Moves the rows of the server trace into the samples. Returns the number of exchanges without a row.
///
/// # Errors
/// When the trace cannot be fetched or parsed.
pub(super) async fn join(server: &Server, samples: &mut [Sample]) -> anyhow::Result<usize> {
    let mut by_exchange: HashMap<u64, &mut Sample> =
        samples.iter_mut().filter_map(|sample| Some((sample.exchange_id?, sample))).collect();
    let deadline = Instant::now() + FLUSH_TIMEOUT;
    loop {
        for row in server.take_trace().await? {
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
