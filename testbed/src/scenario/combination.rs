//! Conditions with several impairments, in the syntax of the command line.

use std::str::FromStr;

use model::Condition;

/// A condition in the syntax of the command line: `delay=50ms,loss=1%,rate=1Mbit`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Combination(pub(crate) Condition);

impl FromStr for Combination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut table = toml::Table::new();
        for part in text.split(',') {
            let expected =
                || format!("invalid condition '{part}': expected NAME=VALUE (e.g. delay=50ms,loss=1%,rate=1Mbit)");
            let (name, value) = part.split_once('=').ok_or_else(expected)?;
            if table.insert(name.trim().to_owned(), value.trim().into()).is_some() {
                return Err(format!("duplicate setting '{name}'"));
            }
        }
        let condition: Condition = table.try_into().map_err(|error: toml::de::Error| error.message().to_owned())?;
        condition.validate().map(Self).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_combination_is_parsed_by_names_and_an_invalid_one_is_refused_by_name() {
        let Combination(condition) = "delay=50ms, jitter=5ms,loss=1%".parse().unwrap();
        assert_eq!(condition.to_string(), "delay 50ms, jitter 5ms, loss 1%");
        for (text, expected) in [
            ("50ms", "expected NAME=VALUE"),
            ("delay=50ms,delay=60ms", "duplicate setting 'delay'"),
            ("lag=50ms", "lag"),
            ("loss=one", "one"),
            ("jitter=5ms", "jitter"),
        ] {
            let error = text.parse::<Combination>().unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
