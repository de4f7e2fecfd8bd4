//! The sample as `shop-client` defines it, under a short path.

pub use model::sample::{Outcome, Phase, Sample};
