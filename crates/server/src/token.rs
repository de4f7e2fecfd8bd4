//! Tokens: 256 random bits, in hexadecimal on the wire. The database stores their SHA-256 only.
//!
//! Unlike for passwords a fast hash suffices: 256 random bits cannot be guessed.

use rusqlite::ToSql;
use rusqlite::types::ToSqlOutput;
use sha2::{Digest, Sha256};

use crate::command_error::{CommandError, CommandResult};

/// Hash of a token, as stored in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenHash([u8; 32]);

impl TokenHash {
    /// Returns the hash of a token in its wire format.
    pub(crate) fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }
}

impl ToSql for TokenHash {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0.as_slice()))
    }
}

/// Generates a token in its wire format.
pub(crate) fn generate() -> CommandResult<String> {
    random_hex::<32>().map_err(|error| CommandError::Broken(format!("random bytes for a token: {error}")))
}

/// Returns `BYTES` random bytes in hexadecimal.
pub(crate) fn random_hex<const BYTES: usize>() -> Result<String, getrandom::Error> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_64_hexadecimal_digits_and_differ() {
        let (one, other) = (generate().unwrap(), generate().unwrap());
        assert!(one.len() == 64 && one.bytes().all(|byte| byte.is_ascii_hexdigit()), "{one}");
        assert_ne!(one, other);
    }

    #[test]
    fn the_hash_is_sha_256() {
        // Example of FIPS 180-4 for the message "abc".
        let hash: String = TokenHash::of("abc").0.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
