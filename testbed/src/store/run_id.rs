//! The id of a run, and calendar times in UTC.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;

/// A date and time in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UtcTime {
    year: i64,
    month: u32,
    day: u32,
    hour: u64,
    minute: u64,
    second: u64,
}

impl UtcTime {
    /// Returns the current time.
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_unix(since.as_secs())
    }

    /// Converts seconds since 1970: `civil_from_days` of Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    fn from_unix(seconds: u64) -> Self {
        let days = (seconds / 86_400) as i64 + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u32;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 } as u32;
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let in_day = seconds % 86_400;
        Self { year, month, day, hour: in_day / 3_600, minute: in_day / 60 % 60, second: in_day % 60 }
    }
}

impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// Returns a new id: the time in UTC and a random part, which distinguishes runs started at the same time.
///
/// # Errors
/// The kernel provides no random number.
pub(crate) fn new_run_id() -> anyhow::Result<String> {
    let time = UtcTime::now().to_string().replace(['-', ':', 'Z'], "").replace('T', "-");
    let random = getrandom::u32().context("cannot generate a random run id")?;
    Ok(format!("{time}-{:04x}", random & 0xffff))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_since_1970_are_converted_to_dates() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(UtcTime::from_unix(seconds).to_string(), expected);
        }
    }
}
