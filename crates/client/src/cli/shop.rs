//! The options that say where the shop is and how to talk to it; the menu and the workload share them.

use std::net::ToSocketAddrs;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use protocol::limits;

use crate::cli::duration;
use crate::transport::{Endpoints, Timeouts};

/// Where the shop is.
#[derive(Args)]
pub(super) struct ShopArgs {
    /// The server's name or address; a name is looked up once, before anything is measured.
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    server: String,
    /// TCP port of register, login, logout, change_password.
    #[arg(long, value_name = "PORT", default_value_t = limits::ACCOUNTS_PORT)]
    accounts_port: u16,
    /// TCP port of everything else.
    #[arg(long, value_name = "PORT", default_value_t = limits::SHOP_PORT)]
    shop_port: u16,
    /// Longest wait for a complete answer, from the first byte sent.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse_positive)]
    request_timeout: Duration,
    /// Longest wait for a TCP handshake.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse_positive)]
    connect_timeout: Duration,
}

impl ShopArgs {
    pub(super) fn endpoints(&self) -> anyhow::Result<Endpoints> {
        let address = (self.server.as_str(), self.accounts_port)
            .to_socket_addrs()
            .with_context(|| format!("server '{}': no address found; give a name or an IP address", self.server))?
            .next()
            .with_context(|| format!("server '{}': the name has no address", self.server))?
            .ip();
        Ok(Endpoints { address, accounts_port: self.accounts_port, shop_port: self.shop_port })
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        Timeouts { connect: self.connect_timeout, request: self.request_timeout }
    }
}
