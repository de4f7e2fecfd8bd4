//! Settings of the shop, the built-in application.

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::units::Count;

/// Settings of the shop that affect results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
#[group(id = "shop")]
#[command(next_help_heading = "Shop")]
pub struct Shop {
    /// Memory of one argon2id password hash, KiB
    #[arg(long, value_name = Count::<8, 4_194_304>::range(), default_value = "19456")]
    pub password_memory_kib: Count<8, 4_194_304>,
    /// Passes of one password hash over its memory
    #[arg(long, value_name = Count::<1, 1_000>::range(), default_value = "2")]
    pub password_iterations: Count<1, 1_000>,
    /// Units of each product of the demonstration catalogue
    #[arg(long, value_name = Count::<0, 1_000_000_000>::range(), default_value = "1000")]
    pub catalogue_stock: Count<0, 1_000_000_000>,
    /// Crashes that an acknowledged order survives
    #[arg(long, value_enum, default_value = "full")]
    pub durability: Durability,
    /// Encrypt the connections by this version of TLS; '--tls' means 1.3. Without a certificate of its own the server makes
    /// one at its start
    #[arg(long, value_enum, value_name = "VERSION", default_value = "off", num_args = 0..=1, require_equals = true,
          default_missing_value = "1.3")]
    pub tls: Tls,
}

/// Crashes that an acknowledged order survives, in addition to a crash of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// A crash of the host: SQLite syncs its log at every commit
    Full,
    /// A crash of the server only: the last commits may be lost in a crash of the host (faster)
    Normal,
}

/// Encryption of the shop's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum Tls {
    /// Clear text
    #[value(name = "off")]
    #[serde(rename = "off")]
    Off,
    /// TLS 1.2: a handshake of two round trips
    #[value(name = "1.2")]
    #[serde(rename = "1.2")]
    Version12,
    /// TLS 1.3: a handshake of one round trip
    #[value(name = "1.3")]
    #[serde(rename = "1.3")]
    Version13,
}

impl Tls {
    /// Returns the version; `None` for clear text.
    #[must_use]
    pub fn version(self) -> Option<TlsVersion> {
        match self {
            Tls::Off => None,
            Tls::Version12 => Some(TlsVersion::V12),
            Tls::Version13 => Some(TlsVersion::V13),
        }
    }
}

/// Version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246.
    V12,
    /// RFC 8446.
    V13,
}
