//! Creates one backend per environment, so that cells can be measured in parallel, each in its own network.

use std::rc::Rc;

use crate::backend::Backend;

/// Creates the backends of a run's environments.
pub(crate) enum BackendFactory {
    /// Any number of environments, numbered from 1.
    Several(Box<dyn Fn(u32) -> Rc<dyn Backend>>),
    /// One environment.
    One {
        /// Its backend.
        backend: Rc<dyn Backend>,
        /// Why cells cannot run in parallel.
        sequential_reason: &'static str,
    },
}

impl BackendFactory {
    /// Returns a factory for any number of environments.
    pub(crate) fn several<B: Backend + 'static>(create: impl Fn(u32) -> B + 'static) -> Self {
        Self::Several(Box::new(move |environment| Rc::new(create(environment))))
    }

    /// Returns a factory for one environment.
    pub(crate) fn one(backend: impl Backend + 'static, sequential_reason: &'static str) -> Self {
        Self::One { backend: Rc::new(backend), sequential_reason }
    }

    /// Returns why cells cannot run in parallel, if so.
    pub(crate) fn sequential_reason(&self) -> Option<&'static str> {
        match self {
            Self::Several(_) => None,
            Self::One { sequential_reason, .. } => Some(sequential_reason),
        }
    }

    /// Creates the backends of this many environments, or of one if there can be only one.
    pub(crate) fn for_environments(self, environments: u32) -> Vec<Rc<dyn Backend>> {
        match self {
            Self::Several(create) => (1..=environments.max(1)).map(create).collect(),
            Self::One { backend, .. } => vec![backend],
        }
    }
}
