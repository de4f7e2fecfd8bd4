//! Quantities that are written as text with a unit, stored exactly, and displayed in the same form.

mod arrival_rate;
mod count;
mod decimal;
mod delay;
mod duration;
mod loss;
mod queue_limit;
mod rate;

pub use arrival_rate::{ArrivalRate, ArrivalRateError};
pub use count::{Count, CountError};
pub use delay::{Delay, DelayError};
pub use duration::{HumanDuration, InvalidDuration, MinDuration, PositiveDuration};
pub use loss::{Loss, LossError};
pub use queue_limit::{QueueLimit, QueueLimitError};
pub use rate::{Rate, RateError};
