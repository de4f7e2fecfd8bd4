//! Address of the shop as people and the driver give it.

use std::io;
use std::net::ToSocketAddrs;

use clap::Args;
use protocol::limits;
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
}

impl ShopAddress {
    /// Looks up the name.
    ///
    /// # Errors
    /// The name has no address.
    pub fn resolve(&self) -> io::Result<Endpoints> {
        let Self { server, accounts_port, shop_port } = self;
        let error = |reason: String| {
            io::Error::other(format!("server '{server}': {reason}; give a name with an address, or an IP address"))
        };
        let mut addresses =
            (server.as_str(), *accounts_port).to_socket_addrs().map_err(|cause| error(cause.to_string()))?;
        let address = addresses.next().ok_or_else(|| error("the name has no address".to_owned()))?.ip();
        Ok(Endpoints { address, accounts_port: *accounts_port, shop_port: *shop_port })
    }
}
