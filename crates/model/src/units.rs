//! Quantities as people write them: text with a unit in, exact integers inside, the same text out.

mod decimal;
mod delay;
mod duration;
mod loss;
mod queue_limit;
mod rate;

pub use delay::{Delay, DelayError};
pub use duration::{HumanDuration, InvalidDuration};
pub use loss::{Loss, LossError};
pub use queue_limit::{QueueLimit, QueueLimitError};
pub use rate::{Rate, RateError};
