//! Fingerprint of a server's TLS certificate, by which clients recognise the server.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Name of the hash function in front of the digits.
const PREFIX: &str = "sha256:";

/// SHA-256 of a certificate in DER: `sha256:` and 64 hexadecimal digits. The output of
/// `openssl x509 -noout -fingerprint -sha256` is accepted, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CertificateFingerprint(pub [u8; 32]);

/// A text that is not a fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid certificate fingerprint '{0}': expected 'sha256:' and 64 hexadecimal digits, as the server prints it")]
pub struct FingerprintError(String);

impl fmt::Display for CertificateFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for CertificateFingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let invalid = || FingerprintError(text.to_owned());
        let digits = text.strip_prefix(PREFIX).or_else(|| text.split_once("Fingerprint=").map(|(_, digits)| digits));
        let digits: Vec<u32> = digits
            .unwrap_or(text)
            .chars()
            .filter(|char| *char != ':')
            .map(|char| char.to_digit(16).ok_or_else(invalid))
            .collect::<Result<_, _>>()?;
        let bytes: Vec<u8> =
            digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | *digit as u8)).collect();
        if digits.len() % 2 == 1 {
            return Err(invalid());
        }
        bytes.try_into().map(Self).map_err(|_| invalid())
    }
}

impl Serialize for CertificateFingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CertificateFingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_shop_server_and_openssl_are_accepted() {
        let fingerprint = CertificateFingerprint(std::array::from_fn(|index| index as u8 * 8));
        let text = fingerprint.to_string();
        assert!(text.starts_with("sha256:0008101820") && text.len() == 7 + 64, "{text}");
        let pairs: Vec<String> = fingerprint.0.iter().map(|byte| format!("{byte:02X}")).collect();
        let openssl = format!("sha256 Fingerprint={}", pairs.join(":"));
        for accepted in [text.as_str(), &text[7..], &openssl, &pairs.join(":")] {
            assert_eq!(accepted.parse(), Ok(fingerprint), "{accepted}");
        }
        assert_eq!(serde_json::to_string(&fingerprint).unwrap(), format!("\"{text}\""));
        for refused in ["", "sha256:", &text[..70], &text[..69], &format!("{text}00"), &text.replace('8', "x")] {
            let error = refused.parse::<CertificateFingerprint>().unwrap_err().to_string();
            assert!(error.contains("64 hexadecimal digits"), "{error}");
        }
    }
}
