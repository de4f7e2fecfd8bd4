//! Whether a cell's condition was in force, and whether its numbers are the link's: the probe's plan and judgement, checks of
//! counters and operations against the condition, overload of the host, stalls of the server. Pure.

pub(crate) mod binomial;
pub(crate) mod cross_checks;
pub(crate) mod jitter;
pub(crate) mod operation_checks;
pub(crate) mod overload;
pub(crate) mod probe_plan;
pub(crate) mod stall;
