//! Types that the driver, the programs in nodes and the analysis share: units, conditions, samples, settings, messages.
//!
//! Pure: no I/O, no clock, no runtime.

pub mod cell;
mod certificate_fingerprint;
pub mod condition;
pub mod exchange;
pub mod messages;
mod names;
pub mod sample;
pub mod settings;
pub mod units;

pub use cell::{Cell, SweptParameter};
pub use certificate_fingerprint::{CertificateFingerprint, FingerprintError};
pub use condition::Condition;
pub use exchange::TraceRow;
pub use names::name_list;
pub use sample::{Labels, Outcome, Phase, Sample, SampleRow};
pub use units::{ArrivalRate, Delay, HumanDuration, Loss, QueueLimit, Rate};
