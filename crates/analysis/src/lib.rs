//! What the samples of a run say: statistics, the table of conditions, and the graphs.
//!
//! Everything here is pure: samples, cells and a seed come in, numbers, text and encoded graphs go out. No files, no
//! clock, no randomness but the seed's; who calls decides where the results are written. Nothing here knows engines or
//! emulators.

mod bootstrap;
pub mod breakdown;
pub mod breakdown_rows;
pub mod cell;
mod condition_label;
pub mod confidence_interval;
#[cfg(test)]
mod coverage_tests;
pub mod distribution;
pub mod doubt;
pub mod ecdf;
pub mod format;
pub mod graph;
pub mod interval_rows;
pub mod mean_breakdown;
pub mod measures;
pub mod metric;
pub mod operation_samples;
pub mod outcome_counts;
pub mod percentile;
pub mod pooled_samples;
pub mod precision;
mod random;
pub mod sample;
pub mod statistic;
pub mod summary;
pub mod table;

// The made-up run of the tests names this crate as its users do.
#[cfg(test)]
extern crate self as analysis;

pub use breakdown::{Component, Components, LinkParameters};
pub use breakdown_rows::{BreakdownRow, breakdown_rows};
pub use cell::{CellInfo, Verdict};
pub use confidence_interval::{ConfidenceInterval, Estimate, MIN_REPETITIONS, MissingInterval};
pub use distribution::Distribution;
pub use doubt::Doubt;
pub use ecdf::Ecdf;
pub use format::Format;
pub use graph::{Graph, GraphError, RunTitle, draw_all};
pub use interval_rows::{IntervalRow, interval_rows};
pub use percentile::{Sorted, mean, percentile};
pub use pooled_samples::{PooledSamples, RunSamples, SweepSamples};
pub use precision::{Precision, relative_half_width};
pub use statistic::Statistic;
pub use summary::{SummaryRow, summarise};
pub use table::{ConditionRow, condition_rows, condition_table, condition_table_within};
