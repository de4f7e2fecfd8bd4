//! Common properties of pooled cells.

use model::SweptParameter;

use crate::condition_label::BASELINE;

/// The common property of pooled cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PooledCondition {
    /// Baseline cells of all sweeps.
    Baseline,
    /// Repetitions of one value of a swept parameter.
    Value(SweptParameter, String),
}

impl PooledCondition {
    /// Returns the content of the column `condition`.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            PooledCondition::Baseline => BASELINE,
            PooledCondition::Value(parameter, _) => parameter.name(),
        }
    }

    /// Returns the content of the column `value`: the value with its unit, empty for the pooled baseline.
    pub(crate) fn value(&self) -> &str {
        match self {
            PooledCondition::Baseline => "",
            PooledCondition::Value(_, value) => value,
        }
    }
}
