//! The sample as `shop-client` defines it, under a short path.

pub use client::sample::{Outcome, Phase, Sample};
