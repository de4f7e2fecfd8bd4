//! The engines of labs that measure cells beside each other, each with a network of its own.

use super::Engine;

/// What makes the engine of each lab of a run.
pub(crate) enum Engines {
    /// Any number, numbered from 1.
    Several(Box<dyn Fn(u32) -> Box<dyn Engine>>),
    /// A single one.
    One {
        /// It.
        engine: Box<dyn Engine>,
        /// Why no more, for the user.
        why: &'static str,
    },
}

impl Engines {
    /// Engines that `make` makes.
    pub(crate) fn several<E: Engine + 'static>(make: impl Fn(u32) -> E + 'static) -> Self {
        Self::Several(Box::new(move |lab| Box::new(make(lab))))
    }

    /// This one only.
    pub(crate) fn one(engine: impl Engine + 'static, why: &'static str) -> Self {
        Self::One { engine: Box::new(engine), why }
    }

    /// Why there can be but one lab, if so.
    pub(crate) fn why_one(&self) -> Option<&'static str> {
        match self {
            Self::Several(_) => None,
            Self::One { why, .. } => Some(why),
        }
    }

    /// The engines of so many labs, as far as there can be more than one.
    pub(crate) fn for_labs(self, labs: u32) -> Vec<Box<dyn Engine>> {
        match self {
            Self::Several(make) => (1..=labs.max(1)).map(make).collect(),
            Self::One { engine, .. } => vec![engine],
        }
    }
}
