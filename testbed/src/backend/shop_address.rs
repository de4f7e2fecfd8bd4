//! Where clients reach the shop.

use std::fmt;

use model::CertificateFingerprint;
use protocol::limits;

/// Address and ports of the shop, as clients use them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShopAddress {
    /// Host name or address.
    pub(crate) host: String,
    /// TCP port for accounts.
    pub(crate) accounts_port: u16,
    /// TCP port for all other commands.
    pub(crate) shop_port: u16,
    /// UDP port of the server's echo, if ports are published: the publishing host would reply to ICMP itself.
    pub(crate) echo_port: Option<u16>,
    /// Fingerprint of an external shop's certificate, if connections are encrypted.
    pub(crate) tls_fingerprint: Option<CertificateFingerprint>,
}

impl ShopAddress {
    /// Returns the address of a shop in a node with its own address.
    pub(crate) fn of_node(address: &impl fmt::Display) -> Self {
        let (accounts_port, shop_port) = (limits::ACCOUNTS_PORT, limits::SHOP_PORT);
        Self { host: address.to_string(), accounts_port, shop_port, echo_port: None, tls_fingerprint: None }
    }

    /// Returns the address of a shop behind three consecutive published ports.
    ///
    /// # Errors
    /// When they are not all ports.
    pub(crate) fn published(host: &str, first_port: u16) -> anyhow::Result<Self> {
        let Some(echo_port) = first_port.checked_add(2).filter(|_| first_port > 0) else {
            anyhow::bail!("--publish-port {first_port}: it and the next two must be ports, 1 to 65535")
        };
        Ok(Self {
            host: host.to_owned(),
            accounts_port: first_port,
            shop_port: first_port + 1,
            echo_port: Some(echo_port),
            tls_fingerprint: None,
        })
    }
}
