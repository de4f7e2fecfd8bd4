//! Spans of time as they are written on a command line: `30s`, `100ms`.

use std::time::Duration;

/// Reads a span; its form is a number and a unit.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "us" => Some(1e-6),
        "ms" => Some(1e-3),
        "s" => Some(1.0),
        "m" => Some(60.0),
        "h" => Some(3600.0),
        _ => None,
    };
    seconds
        .zip(number.parse::<f64>().ok())
        .and_then(|(unit, number)| Duration::try_from_secs_f64(number * unit).ok())
        .ok_or_else(|| format!("'{text}': a number and one of us, ms, s, m, h, such as '100ms' or '30s'"))
}

/// Reads a span that must not be zero.
pub(super) fn parse_positive(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        Duration::ZERO => Err(format!("'{text}': more than zero")),
        span => Ok(span),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_a_number_and_a_unit() {
        for (text, micros) in [
            ("100ms", 100_000),
            ("30s", 30_000_000),
            ("1.5s", 1_500_000),
            ("2m", 120_000_000),
            ("0s", 0),
            ("250us", 250),
        ] {
            assert_eq!(parse(text).map(|span| span.as_micros()), Ok(micros), "{text}");
        }
        for text in ["", "30", "s", "-1s", "1.2.3s", "5 s", "5mss", "1e400s"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse_positive("0ms").is_err());
    }
}
