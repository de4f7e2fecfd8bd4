//! Fields of a sample that a dataset stores.

use model::{Outcome, Phase};

use crate::timings::Timings;

/// One sample, before its names are replaced by positions.
pub(super) struct Row<'a> {
    pub(super) run_id: &'a str,
    pub(super) cell: &'a str,
    pub(super) condition: &'a str,
    pub(super) value: &'a str,
    pub(super) repetition: Option<u32>,
    pub(super) operation: &'a str,
    pub(super) phase: Phase,
    pub(super) outcome: Outcome,
    pub(super) timings: Timings,
}
