//! Statistics, tables and graphs of the samples of a run.
//!
//! Everything here is pure: the input is samples, cells and a seed, the output is numbers, text and encoded graphs.
//! There is no file access, no clock and no randomness other than the seed's; the caller decides where results are
//! written. Nothing here depends on backends or emulators.

mod bootstrap;
mod breakdown;
mod breakdown_rows;
mod cell;
mod cell_issue;
mod condition_label;
mod confidence_interval;
#[cfg(test)]
mod coverage_tests;
mod distribution;
mod ecdf;
mod format;
pub mod graph;
mod interval_rows;
mod mean_breakdown;
pub mod measures;
mod metric;
mod operation_samples;
mod outcome_counts;
mod percentile;
mod pooled_samples;
mod precision;
mod random;
pub mod sample;
mod statistic;
mod summary;
mod table;

// The tests' synthetic run uses the public name of this crate.
#[cfg(test)]
extern crate self as analysis;

pub use breakdown_rows::{BreakdownRow, breakdown_rows};
pub use cell::{CellInfo, Verdict};
pub use distribution::Distribution;
pub use format::Format;
pub use graph::{Graph, GraphError, RunTitle, draw_all};
pub use interval_rows::{IntervalRow, interval_rows};
pub use outcome_counts::OutcomeCounts;
pub use percentile::{Sorted, mean, percentile};
pub use precision::Precision;
pub use statistic::Statistic;
pub use summary::{SummaryRow, summarise};
pub use table::{ConditionRow, condition_rows, condition_table, condition_table_within};
