//! Secret by which an agent shows that it belongs to this run: only the run's containers have it.

use std::fmt;
use std::hint::black_box;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Secret that hub and agents share. It is never printed, and comparison takes constant time.
#[derive(Clone, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Token(String);

/// Maximum length. A longer text is a mistake, such as a file's content.
const MAX_BYTES: usize = 1_024;

/// Error of parsing a [`Token`]. It does not contain the text, which may be secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid token of {0} bytes: expected 1 to {MAX_BYTES}")]
pub struct TokenError(usize);

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for Token {
    type Error = TokenError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if (1..=MAX_BYTES).contains(&text.len()) { Ok(Self(text)) } else { Err(TokenError(text.len())) }
    }
}

impl From<Token> for String {
    fn from(token: Token) -> Self {
        token.0
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        let differences = self.0.bytes().zip(other.0.bytes()).fold(0, |all, (a, b)| black_box(all | (a ^ b)));
        self.0.len() == other.0.len() && differences == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_text_is_equal() {
        let token: Token = "secret".parse().unwrap();
        for (text, equal) in [("secret", true), ("secreT", false), ("Secret", false), ("secre", false), ("s", false)] {
            assert_eq!(token == text.parse().unwrap(), equal, "{text}");
        }
    }

    #[test]
    fn an_empty_or_long_token_is_rejected_and_none_is_printed() {
        assert_eq!("".parse::<Token>(), Err(TokenError(0)));
        assert_eq!(
            "x".repeat(1_025).parse::<Token>().unwrap_err().to_string(),
            "invalid token of 1025 bytes: expected 1 to 1024"
        );
        assert!(serde_json::from_str::<Token>(r#""""#).is_err());
        assert_eq!(format!("{:?}", "secret".parse::<Token>().unwrap()), "Token(…)");
    }
}
