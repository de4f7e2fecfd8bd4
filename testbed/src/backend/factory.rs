//! Creates one backend per environment, so that cells can be measured in parallel, each in its own network.

use crate::backend::Backend;

/// What makes the engine of each environment of a run.
pub(crate) enum BackendFactory {
    /// Any number, numbered from 1.
    Several(Box<dyn Fn(u32) -> Box<dyn Backend>>),
    /// A single one.
    One {
        /// It.
        backend: Box<dyn Backend>,
        /// Why no more, for the user.
        why: &'static str,
    },
}

impl BackendFactory {
    /// BackendFactory that `make` makes.
    pub(crate) fn several<E: Backend + 'static>(make: impl Fn(u32) -> E + 'static) -> Self {
        Self::Several(Box::new(move |environment| Box::new(make(environment))))
    }

    /// This one only.
    pub(crate) fn one(backend: impl Backend + 'static, why: &'static str) -> Self {
        Self::One { backend: Box::new(backend), why }
    }

    /// Why there can be but one environment, if so.
    pub(crate) fn sequential_reason(&self) -> Option<&'static str> {
        match self {
            Self::Several(_) => None,
            Self::One { why, .. } => Some(why),
        }
    }

    /// The engines of so many environments, as far as there can be more than one.
    pub(crate) fn for_environments(self, environments: u32) -> Vec<Box<dyn Backend>> {
        match self {
            Self::Several(make) => (1..=environments.max(1)).map(make).collect(),
            Self::One { backend, .. } => vec![backend],
        }
    }
}
