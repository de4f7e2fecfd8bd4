//! The sample, as the client defines it. The columns have one owner, `shop-client`; here they only get a short name.

pub use model::sample::{Outcome, Phase, Sample};
