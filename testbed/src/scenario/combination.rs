//! Several conditions at once, as the command line spells them.

use std::str::FromStr;

use model::Condition;

/// A condition as the command line spells it: `delay=50ms,loss=1%,rate=1Mbit`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Combination(pub(crate) Condition);

impl FromStr for Combination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut table = toml::Table::new();
        for part in text.split(',') {
            let expected = || format!("'{part}': expected NAME=VALUE, such as delay=50ms,loss=1%,rate=1Mbit");
            let (name, value) = part.split_once('=').ok_or_else(expected)?;
            if table.insert(name.trim().to_owned(), value.trim().into()).is_some() {
                return Err(format!("'{name}' is named twice"));
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
    fn a_combination_is_spelled_with_names_and_a_wrong_one_is_refused_by_name() {
        let Combination(condition) = "delay=50ms, jitter=5ms,loss=1%".parse().unwrap();
        assert_eq!(condition.to_string(), "delay 50ms, jitter 5ms, loss 1%");
        for (text, expected) in [
            ("50ms", "expected NAME=VALUE"),
            ("delay=50ms,delay=60ms", "'delay' is named twice"),
            ("lag=50ms", "lag"),
            ("loss=one", "one"),
            ("jitter=5ms", "jitter"),
        ] {
            let error = text.parse::<Combination>().unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
