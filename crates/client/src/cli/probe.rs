//! `shop-client probe`.

use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};

use anyhow::Context;
use model::units::{HumanDuration, PositiveDuration};
use program_main::json_line;

use crate::probe;
use crate::probe::{HandshakeSettings, MAX_IN_BURST, ProbeProtocol, ProbeSettings, SendPattern};

/// The largest payload of one packet.
const MAX_PAYLOAD_BYTES: i64 = 65_507;

/// Options of `probe`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Name or IPv4 address of the host whose kernel answers.
    #[arg(long, value_name = "HOST")]
    server: String,
    /// UDP echo to a server's --echo-listen PORT instead of ICMP: through a published port, where the host would
    /// answer.
    #[arg(long, value_name = "PORT")]
    udp: Option<u16>,
    /// Time TCP handshakes with PORT instead of echo.
    #[arg(long, value_name = "PORT", conflicts_with_all = ["udp", "burst", "size"])]
    tcp: Option<u16>,
    /// Echo requests.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..))]
    count: u16,
    /// Time between two of them.
    #[arg(long, value_name = "TIME", default_value = "2ms")]
    interval: HumanDuration,
    /// Payload of each, bytes; the packet is 28 bytes larger.
    #[arg(
        long, value_name = "BYTES", default_value_t = 56,
        value_parser = clap::value_parser!(u16).range(0..=MAX_PAYLOAD_BYTES)
    )]
    size: u16,
    /// Ends when nothing was sent and nothing arrived for so long.
    #[arg(long, value_name = "TIME", default_value = "3s")]
    timeout: PositiveDuration,
    /// Send N requests at once instead and tell the link's rate from the spacing of the replies (use --size 1400). A
    /// server's kernel answers about 40 packets of 1400 bytes through a slow link; what is beyond is lost in it.
    #[arg(
        long, value_name = "N", conflicts_with_all = ["count", "interval"],
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    burst: Option<u16>,
    /// Allow a burst of more than 40.
    #[arg(long, requires = "burst")]
    force: bool,
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    if let Some(burst) = args.burst
        && burst > MAX_IN_BURST
        && !args.force
    {
        anyhow::bail!(
            "--burst {burst}: at most {MAX_IN_BURST}, since the server's kernel may drop more by itself; --force sends them \
             all the same"
        );
    }
    let server = address(&args.server)?;
    if let Some(port) = args.tcp {
        let (pause, patience) = (args.interval.as_duration(), args.timeout.as_duration());
        let settings = HandshakeSettings { server, port, count: args.count, pause, patience };
        return json_line(&probe::handshakes(&settings)?).context("cannot print the report");
    }
    let settings = ProbeSettings {
        server,
        means: args.udp.map_or(ProbeProtocol::Icmp, |port| ProbeProtocol::Udp { port }),
        count: args.burst.unwrap_or(args.count),
        pace: if args.burst.is_some() { SendPattern::Burst } else { SendPattern::Every(args.interval.as_duration()) },
        payload_bytes: args.size,
        patience: args.timeout.as_duration(),
    };
    json_line(&probe::run(&settings)?).context("cannot print the report")
}

fn address(server: &str) -> anyhow::Result<Ipv4Addr> {
    let addresses = (server, 0).to_socket_addrs().with_context(|| format!("server '{server}': no address found"))?;
    let is_ipv4 = |address: std::net::SocketAddr| match address.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    };
    addresses
        .into_iter()
        .find_map(is_ipv4)
        .with_context(|| format!("server '{server}': the probe needs an IPv4 address and there is none"))
}
