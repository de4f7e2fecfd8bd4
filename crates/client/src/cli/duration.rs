//! Durations on the command line, as the standard library's type.

use std::time::Duration;

use model::HumanDuration;
use model::units::InvalidDuration;

/// Reads a duration.
pub(super) fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    text.parse().map(HumanDuration::as_duration)
}

/// Reads a duration greater than 0.
pub(super) fn parse_positive(text: &str) -> Result<Duration, InvalidDuration> {
    HumanDuration::parse_positive(text).map(HumanDuration::as_duration)
}
