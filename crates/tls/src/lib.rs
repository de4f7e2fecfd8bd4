//! TLS of the shop's connections, by rustls.
//!
//! A client recognises the server by the fingerprint of its certificate, like an SSH host key: names, validity periods and
//! authorities do not matter. So a server can make a certificate at its start, and no files need to be distributed.
//!
//! Sessions are not resumed: every connection has the round trips of a complete handshake.

mod client;
mod identity;

pub use client::{client_config, unverified_client_config};
pub use identity::{Identity, IdentityError};

use std::sync::Arc;

use model::settings::TlsVersion;
use rustls::crypto::CryptoProvider;
use rustls::{SupportedProtocolVersion, version};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn protocol_version(version: TlsVersion) -> &'static SupportedProtocolVersion {
    match version {
        TlsVersion::V12 => &version::TLS12,
        TlsVersion::V13 => &version::TLS13,
    }
}
