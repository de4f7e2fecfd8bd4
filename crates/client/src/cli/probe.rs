//! `shop-client probe`: its options and their conversion to settings.

use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};

use anyhow::Context;
use model::units::{HumanDuration, PositiveDuration};
use program_main::json_line;

use crate::probe;
use crate::probe::{HandshakeSettings, MAX_IN_BURST, ProbeProtocol, ProbeSettings, SendPattern};

/// Maximum payload of one IPv4 packet, bytes.
const MAX_PAYLOAD_BYTES: i64 = 65_507;

/// Options of `probe`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Name or IPv4 address of the host to probe
    #[arg(long, value_name = "HOST")]
    server: String,
    /// Use UDP echo to the server's --echo-listen PORT instead of ICMP (behind a published port the host would answer
    /// ICMP)
    #[arg(long, value_name = "PORT")]
    udp: Option<u16>,
    /// Time TCP handshakes with PORT instead of echoes
    #[arg(long, value_name = "PORT", conflicts_with_all = ["udp", "burst", "size"])]
    tcp: Option<u16>,
    /// Number of echo requests
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..))]
    count: u16,
    /// Interval between two requests
    #[arg(long, value_name = "TIME", default_value = "2ms")]
    interval: HumanDuration,
    /// Payload of a request (bytes); the IP packet is 28 bytes larger
    #[arg(
        long, value_name = "BYTES", default_value_t = 56,
        value_parser = clap::value_parser!(u16).range(0..=MAX_PAYLOAD_BYTES)
    )]
    size: u16,
    /// Stop when nothing was sent or received for TIME
    #[arg(long, value_name = "TIME", default_value = "3s")]
    timeout: PositiveDuration,
    /// Send N requests back to back and measure the link's rate by the spacing of the replies (use --size 1400). On a
    /// low-rate link the server's kernel queues only about 40 replies of 1400 bytes and drops the others
    #[arg(
        long, value_name = "N", conflicts_with_all = ["count", "interval"],
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    burst: Option<u16>,
    /// Allow a burst of more than 40 requests
    #[arg(long, requires = "burst")]
    force: bool,
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    if let Some(burst) = args.burst
        && burst > MAX_IN_BURST
        && !args.force
    {
        anyhow::bail!(
            "--burst {burst}: the maximum is {MAX_IN_BURST}, because the server's kernel may drop further replies; \
             --force overrides it"
        );
    }
    let server = address(&args.server)?;
    if let Some(port) = args.tcp {
        let (pause, timeout) = (args.interval.as_duration(), args.timeout.as_duration());
        let settings = HandshakeSettings { server, port, count: args.count, pause, timeout };
        return json_line(&probe::handshakes(&settings)?).context("cannot print the report");
    }
    let settings = ProbeSettings {
        server,
        protocol: args.udp.map_or(ProbeProtocol::Icmp, |port| ProbeProtocol::Udp { port }),
        count: args.burst.unwrap_or(args.count),
        pattern: if args.burst.is_some() {
            SendPattern::Burst
        } else {
            SendPattern::Every(args.interval.as_duration())
        },
        payload_bytes: args.size,
        timeout: args.timeout.as_duration(),
    };
    json_line(&probe::run(&settings)?).context("cannot print the report")
}

fn address(server: &str) -> anyhow::Result<Ipv4Addr> {
    let addresses =
        (server, 0).to_socket_addrs().with_context(|| format!("server '{server}': cannot resolve the name"))?;
    let is_ipv4 = |address: std::net::SocketAddr| match address.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    };
    addresses
        .into_iter()
        .find_map(is_ipv4)
        .with_context(|| format!("server '{server}': no IPv4 address, which the probe needs"))
}
