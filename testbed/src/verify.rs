//! Verification of a cell: whether its condition was active, and whether host or server affected its results.
//!
//! Contains the plan and evaluation of the probe, checks of counters and operations against the condition, overload of
//! the host and stalls of the server. Pure, except for the readings of host CPU counters.

pub(crate) mod binomial;
pub(crate) mod cross_checks;
pub(crate) mod jitter;
pub(crate) mod operation_checks;
pub(crate) mod overload;
pub(crate) mod probe_plan;
pub(crate) mod stall;
mod train;
