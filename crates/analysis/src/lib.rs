//! Statistics, tables and graphs of the samples of a run.
//!
//! A [`Dataset`] holds the samples and cells of a run; [`Analysis`] computes all results from it once.
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
mod dataset;
mod distribution;
mod ecdf;
mod format;
mod graph;
mod interval_rows;
mod mean_breakdown;
mod measures;
mod metric;
mod numbers;
mod operation_statistics;
mod outcome_counts;
mod percentile;
mod pooled_condition;
mod pooled_statistics;
mod precision;
mod random;
mod run_analysis;
mod run_statistics;
mod statistic;
mod summary;
#[cfg(test)]
#[path = "../tests/suite/synthetic.rs"]
mod synthetic;
mod table;
mod timings;

// The tests' synthetic run uses the public name of this crate.
#[cfg(test)]
extern crate self as analysis;

pub use breakdown_rows::BreakdownRow;
pub use cell::{CellInfo, Verdict};
pub use dataset::{Dataset, DatasetError};
pub use distribution::Distribution;
pub use format::Format;
pub use graph::{Graph, GraphError, RunTitle};
pub use interval_rows::IntervalRow;
pub use percentile::{Sorted, mean, percentile};
pub use precision::{Precision, measured_latencies};
pub use run_analysis::Analysis;
pub use statistic::Statistic;
pub use summary::SummaryRow;
pub use table::ConditionRow;
