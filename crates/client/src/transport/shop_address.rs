//! Address of the shop as people and the driver give it.

use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;

use clap::Args;
use model::CertificateFingerprint;
use model::settings::Tls;
use protocol::limits;
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};

use crate::transport::Endpoints;

/// Address of the shop, before a name is looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
#[group(id = "shop_address")]
pub struct ShopAddress {
    /// Name or address of the server; a name is looked up once, before anything is measured
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    pub server: String,
    /// TCP port of register, login, logout and change_password
    #[arg(long, value_name = "PORT", default_value_t = limits::ACCOUNTS_PORT)]
    pub accounts_port: u16,
    /// TCP port of all other commands
    #[arg(long, value_name = "PORT", default_value_t = limits::SHOP_PORT)]
    pub shop_port: u16,
    /// Encrypt the connections by this version of TLS; '--tls' means 1.3
    #[arg(long, value_enum, value_name = "VERSION", default_value = "off", num_args = 0..=1, require_equals = true,
          default_missing_value = "1.3")]
    pub tls: Tls,
    /// With --tls: fingerprint of the server's certificate, as 'shop-server --tls' prints it; others are refused
    #[arg(long, value_name = "sha256:HEX")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_fingerprint: Option<CertificateFingerprint>,
}

impl ShopAddress {
    /// Returns the client's end of TLS; `None` for clear text.
    ///
    /// # Errors
    /// One of version and fingerprint is missing.
    fn encryption(&self) -> Result<Option<Arc<ClientConfig>>, String> {
        match (self.tls.version(), self.tls_fingerprint) {
            (Some(version), Some(fingerprint)) => Ok(Some(tls::client_config(version, fingerprint))),
            (None, None) => Ok(None),
            (Some(_), None) => {
                Err("--tls needs --tls-fingerprint: 'shop-server --tls' prints it at its start".to_owned())
            }
            (None, Some(_)) => Err("--tls-fingerprint needs --tls: add it".to_owned()),
        }
    }

    /// Looks up the name.
    ///
    /// # Errors
    /// The name has no address, or one of TLS version and fingerprint is missing.
    pub fn resolve(&self) -> io::Result<Endpoints> {
        let Self { server, accounts_port, shop_port, .. } = self;
        let tls = self.encryption().map_err(io::Error::other)?;
        let error = |reason: String| {
            io::Error::other(format!("server '{server}': {reason}; give a name with an address, or an IP address"))
        };
        let mut addresses =
            (server.as_str(), *accounts_port).to_socket_addrs().map_err(|cause| error(cause.to_string()))?;
        let address = addresses.next().ok_or_else(|| error("the name has no address".to_owned()))?.ip();
        Ok(Endpoints { address, accounts_port: *accounts_port, shop_port: *shop_port, tls })
    }
}
