//! The rows of `breakdown.csv`: latency breakdown of each operation under each condition.

use serde::{Deserialize, Serialize};

use crate::breakdown::Component;
use crate::mean_breakdown::{Breakdown, MeanBreakdown};
use crate::pooled_statistics::PooledStatistics;
use crate::run_statistics::RunStatistics;

/// Means over the successful operations of one kind under one value of a condition. The components add up to the
/// latency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BreakdownRow {
    /// The swept parameter; `baseline` for the pooled baseline.
    pub condition: String,
    /// The parameter's value with its unit.
    pub value: String,
    /// The operation, or `all`.
    pub operation: String,
    /// `all` operations, or the `slowest`: those with a latency of at least the 95th percentile.
    pub subset: String,
    /// Number of operations.
    pub n: usize,
    /// Mean latency.
    pub latency_ms: f64,
    /// … of which queue wait, in the client (open loop) and in the server.
    pub queueing_ms: f64,
    /// … the TCP handshake, without retransmitted SYNs.
    pub handshake_ms: f64,
    /// … the TLS handshake: its round trips, and the computations of both ends.
    pub tls_ms: f64,
    /// … round trips of request and response.
    pub round_trips_ms: f64,
    /// … transmission over a rate-limited link, and queueing in front of it.
    pub transmission_ms: f64,
    /// … waiting for lost segments to be retransmitted.
    pub retransmission_ms: f64,
    /// … processing in the server, without queue and database.
    pub server_ms: f64,
    /// … database time in the server.
    pub database_ms: f64,
    /// … processing in the client, scheduling on the hosts, and time that cannot be attributed.
    pub other_ms: f64,
}

/// Returns the rows of the pooled baseline, then of each condition's values from mild to severe. Subsets without
/// operations have no row.
pub(crate) fn breakdown_rows(run: &RunStatistics) -> Vec<BreakdownRow> {
    run.pooled().flat_map(rows_of).collect()
}

fn rows_of(pooled: &PooledStatistics) -> Vec<BreakdownRow> {
    let subsets = pooled.operations().flat_map(|(operation, statistics)| {
        let Breakdown { all, slowest, .. } = statistics.breakdown;
        [("all", all), ("slowest", slowest)].map(|subset| (operation, subset))
    });
    subsets.filter_map(|(operation, (subset, mean))| Some(row(pooled, operation, subset, &mean?))).collect()
}

fn row(pooled: &PooledStatistics, operation: &str, subset: &str, mean: &MeanBreakdown) -> BreakdownRow {
    let component = |component: Component| mean.components.get(component);
    BreakdownRow {
        condition: pooled.condition.name().to_owned(),
        value: pooled.condition.value().to_owned(),
        operation: operation.to_owned(),
        subset: subset.to_owned(),
        n: mean.n,
        latency_ms: mean.latency_ms,
        queueing_ms: component(Component::Queueing),
        handshake_ms: component(Component::Handshake),
        tls_ms: component(Component::Tls),
        round_trips_ms: component(Component::RoundTrips),
        transmission_ms: component(Component::Transmission),
        retransmission_ms: component(Component::Retransmission),
        server_ms: component(Component::Server),
        database_ms: component(Component::Database),
        other_ms: component(Component::Other),
    }
}
