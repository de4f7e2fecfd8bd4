//! Whose Ethernet address a bundle goes to: the kernel does not say it for packets that bring their own link header.
//!
//! Read from the kernel's tables of this thread's network namespace. Where they say nothing, the bundle is cut and takes the kernel's own way.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// An Ethernet address.
pub(crate) type Mac = [u8; 6];

/// What the kernel said, for a second.
#[derive(Debug)]
pub(crate) struct NextHops {
    device: String,
    known: HashMap<Ipv4Addr, (Option<Mac>, Instant)>,
    tables: Option<Tables>,
}

/// The kernel's tables, as it prints them.
#[derive(Debug)]
struct Tables {
    routes: String,
    neighbours: String,
    read: Instant,
}

/// After this the kernel is asked again, and one bundle takes its own way: only that keeps it checking its neighbour.
const LIFETIME: Duration = Duration::from_secs(1);

/// So that many destinations do not read the tables each.
const TABLES_LIFETIME: Duration = Duration::from_millis(50);

/// Destinations remembered; more are for a node with so many peers that all are forgotten and asked for again.
const MAX_KNOWN: usize = 4_096;

/// The kernel's flag for a route that is up and refuses nothing, and for one that refuses (`RTF_UP`, `RTF_REJECT`).
const UP: u32 = 0x1;
const REJECT: u32 = 0x200;
/// The kernel's flag for a neighbour whose address is known (`ATF_COM`).
const COMPLETE: u32 = 0x2;
const ETHERNET: u32 = 1;

impl NextHops {
    pub(crate) fn by(device: &str) -> Self {
        Self { device: device.to_owned(), known: HashMap::new(), tables: None }
    }

    /// Where to send a bundle for `destination`; `None` when it is to take the kernel's own way.
    pub(crate) fn find(&mut self, destination: Ipv4Addr) -> Option<Mac> {
        let now = Instant::now();
        match self.known.get(&destination) {
            Some((mac, asked)) if now.duration_since(*asked) < LIFETIME => return *mac,
            _ => {}
        }
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        let mac = self.ask(destination, now);
        self.known.insert(destination, (mac, now));
        None
    }

    fn ask(&mut self, destination: Ipv4Addr, now: Instant) -> Option<Mac> {
        self.tables.take_if(|tables| now.duration_since(tables.read) > TABLES_LIFETIME);
        if self.tables.is_none() {
            self.tables = Tables::read(now).ok();
        }
        let Tables { routes, neighbours, .. } = self.tables.as_ref()?;
        address_of(neighbours, &self.device, hop(routes, &self.device, destination)?)
    }
}

impl Tables {
    fn read(now: Instant) -> io::Result<Self> {
        let table = |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}"));
        Ok(Self { routes: table("route")?, neighbours: table("arp")?, read: now })
    }
}

/// The gateway to `destination`, or itself when it is on the link; `None` unless the best route leaves by `device`.
fn hop(routes: &str, device: &str, destination: Ipv4Addr) -> Option<Ipv4Addr> {
    let covers = |route: &Route| destination.to_bits() & route.mask == route.network;
    let routes = routes.lines().skip(1).filter_map(Route::parse).filter(covers);
    let best = routes.max_by_key(|route| (route.mask, std::cmp::Reverse(route.metric)))?;
    if best.device != device || best.flags & UP == 0 || best.flags & REJECT != 0 {
        return None;
    }
    Some(if best.gateway == 0 { destination } else { Ipv4Addr::from_bits(best.gateway) })
}

/// A line of `/proc/net/route`: the main table.
struct Route<'a> {
    device: &'a str,
    network: u32,
    gateway: u32,
    flags: u32,
    metric: u32,
    mask: u32,
}

impl<'a> Route<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let columns: Vec<_> = line.split_whitespace().collect();
        let [device, network, gateway, flags, _, _, metric, mask, ..] = columns.as_slice() else { return None };
        // Addresses are the bytes of the wire, read as a number of the host's order.
        let address = |text: &str| u32::from_str_radix(text, 16).map(u32::from_be).ok();
        Some(Self {
            device,
            network: address(network)?,
            gateway: address(gateway)?,
            flags: u32::from_str_radix(flags, 16).ok()?,
            metric: metric.parse().ok()?,
            mask: address(mask)?,
        })
    }
}

/// The Ethernet address of a neighbour in `/proc/net/arp`.
fn address_of(neighbours: &str, device: &str, hop: Ipv4Addr) -> Option<Mac> {
    let number = |text: &str| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    neighbours.lines().skip(1).find_map(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let [address, kind, flags, mac, _, by] = columns.as_slice() else { return None };
        let is_it = address.parse() == Ok(hop) && *by == device && number(kind)? == ETHERNET;
        (is_it && number(flags)? & COMPLETE != 0).then(|| parse_mac(mac)).flatten()
    })
}

fn parse_mac(text: &str) -> Option<Mac> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes?.try_into().ok()
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    const ROUTES: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t01004D0A\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth1\t00000000\t01004E0A\t0003\t0\t0\t50\t00000000\t0\t0\t0
eth0\t00004D0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
eth0\t0000A8C0\tFE004D0A\t0003\t0\t0\t0\t0000FFFF\t0\t0\t0
*\t0500A8C0\t00000000\t0205\t0\t0\t0\tFFFFFFFF\t0\t0\t0
";

    #[test]
    fn the_longest_prefix_and_then_the_lowest_metric_says_the_hop() {
        for (destination, device, expected) in [
            ([10, 77, 0, 9], "eth0", Some([10, 77, 0, 9])),
            ([192, 168, 0, 6], "eth0", Some([10, 77, 0, 254])),
            ([192, 168, 0, 5], "eth0", None),
            ([8, 8, 8, 8], "eth0", None),
            ([8, 8, 8, 8], "eth1", Some([10, 78, 0, 1])),
        ] {
            let found = hop(ROUTES, device, destination.into());
            assert_eq!(found, expected.map(Ipv4Addr::from), "{destination:?} by {device}");
        }
    }

    #[test]
    fn only_a_known_ethernet_neighbour_by_the_device_has_an_address() {
        let table = "IP address       HW type     Flags       HW address            Mask     Device
10.77.0.2        0x1         0x2         0a:1b:2c:3d:4e:5f     *        eth0
10.77.0.3        0x1         0x0         00:00:00:00:00:00     *        eth0
10.77.0.4        0x1         0x2         0a:1b:2c:3d:4e:60     *        eth1
";
        let found = |last| address_of(table, "eth0", Ipv4Addr::new(10, 77, 0, last));
        assert_eq!(found(2), Some([0x0a, 0x1b, 0x2c, 0x3d, 0x4e, 0x5f]));
        assert_eq!([found(3), found(4), found(5)], [None; 3]);
    }
}
