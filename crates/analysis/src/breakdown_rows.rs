//! The rows of `breakdown.csv`: where the time of each operation went, under each condition.

use serde::{Deserialize, Serialize};

use crate::breakdown::Component;
use crate::cell::CellInfo;
use crate::mean_breakdown::MeanBreakdown;
use crate::pooled_samples::{PooledSamples, RunSamples};
use crate::sample::Sample;

/// Means over the successful operations of one kind under one value of a condition. The parts add up to the latency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BreakdownRow {
    /// What is varied; `baseline` for the pooled baseline.
    pub condition: String,
    /// What it is set to, with its unit.
    pub value: String,
    /// The operation, or `all`.
    pub operation: String,
    /// `every` operation, or the `slowest`: those that took at least the 95th percentile.
    pub subset: String,
    /// How many operations.
    pub n: usize,
    /// Mean latency.
    pub latency_ms: f64,
    /// … of which waiting for a turn, at the client (open loop) or in the server's queue.
    pub queueing_ms: f64,
    /// … the TCP handshake, without SYNs sent again.
    pub handshake_ms: f64,
    /// … round trips of request and response.
    pub round_trips_ms: f64,
    /// … passing a link of a set rate, and queueing before it.
    pub transmission_ms: f64,
    /// … waiting for what was lost to be sent again.
    pub retransmission_ms: f64,
    /// … the server's work, without queue and disk.
    pub server_ms: f64,
    /// … the server's database.
    pub database_ms: f64,
    /// … the client's own work, scheduling, and what cannot be told.
    pub other_ms: f64,
}

/// The rows of the pooled baseline, then of each condition's values from mild to severe. What nothing is known of has
/// no row.
#[must_use]
pub fn breakdown_rows(samples: &[Sample], cells: &[CellInfo]) -> Vec<BreakdownRow> {
    RunSamples::new(samples, cells).all().flat_map(rows_of).collect()
}

fn rows_of(pool: &PooledSamples) -> Vec<BreakdownRow> {
    let groups = pool.operations().filter_map(|operation| pool.group(operation).map(|group| (operation, group)));
    let subsets = groups.flat_map(|(operation, group)| {
        [("all", group.breakdown.all), ("slowest", group.breakdown.slowest)].map(|subset| (operation, subset))
    });
    subsets.filter_map(|(operation, (subset, mean))| Some(row(pool, operation, subset, &mean?))).collect()
}

fn row(pool: &PooledSamples, operation: &str, subset: &str, mean: &MeanBreakdown) -> BreakdownRow {
    let part = |part: Component| mean.components.get(part);
    BreakdownRow {
        condition: pool.condition.clone(),
        value: pool.value.clone(),
        operation: operation.to_owned(),
        subset: subset.to_owned(),
        n: mean.n,
        latency_ms: mean.latency_ms,
        queueing_ms: part(Component::Queueing),
        handshake_ms: part(Component::Handshake),
        round_trips_ms: part(Component::RoundTrips),
        transmission_ms: part(Component::Transmission),
        retransmission_ms: part(Component::Retransmission),
        server_ms: part(Component::Server),
        database_ms: part(Component::Database),
        other_ms: part(Component::Other),
    }
}
