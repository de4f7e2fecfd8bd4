//! The id of a run, and times in UTC.

use anyhow::Context;
use jiff::Timestamp;

/// Returns the current time in UTC, to the second: `2025-12-31T23:59:59Z`.
pub(crate) fn utc_now() -> String {
    now().to_string()
}

/// Returns a new id: the time in UTC and a random part, which distinguishes runs started at the same time.
///
/// # Errors
/// The kernel provides no random number.
pub(crate) fn new_run_id() -> anyhow::Result<String> {
    let random = getrandom::u32().context("cannot generate a random run id")?;
    Ok(format!("{}-{:04x}", now().strftime("%Y%m%d-%H%M%S"), random & 0xffff))
}

fn now() -> Timestamp {
    let now = Timestamp::now();
    // Whole seconds of a valid time are a valid time.
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_ids_have_whole_seconds() {
        let pattern = |text: &str| text.replace(|character: char| character.is_ascii_hexdigit(), "0");
        assert_eq!(pattern(&utc_now()), "0000-00-00T00:00:00Z");
        assert_eq!(pattern(&new_run_id().unwrap()), "00000000-000000-0000");
    }
}
