//! What a pool of cells has in common.

use model::SweptParameter;

use crate::condition_label::BASELINE;

/// The common property of pooled cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PoolName {
    /// Baseline cells of all sweeps.
    Baseline,
    /// Repetitions of one value of a swept parameter.
    Value(SweptParameter, String),
}

impl PoolName {
    /// Returns the content of the column `condition`.
    pub(crate) fn condition(&self) -> &'static str {
        match self {
            PoolName::Baseline => BASELINE,
            PoolName::Value(parameter, _) => parameter.as_str(),
        }
    }

    /// Returns the content of the column `value`: the value with its unit, empty for the pooled baseline.
    pub(crate) fn value(&self) -> &str {
        match self {
            PoolName::Baseline => "",
            PoolName::Value(_, value) => value,
        }
    }
}
