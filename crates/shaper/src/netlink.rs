//! Requests to the kernel over rtnetlink, each as one call: interfaces, routes, rules and neighbours. IPv4 only.

use std::fmt;
use std::net::Ipv4Addr;

use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteType};
use rtnetlink::packet_route::rule::RuleMessage;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{Handle, IpVersion, LinkUnspec, RouteMessageBuilder};

/// A netlink socket in the network namespace of the thread that opened it.
#[derive(Clone)]
pub(crate) struct Netlink {
    handle: Handle,
}

/// Properties of a network interface that the shaper uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) index: u32,
    pub(crate) mtu: u32,
    pub(crate) is_up: bool,
    /// Outgoing packets that the kernel dropped since the interface was created.
    pub(crate) tx_dropped: u64,
}

/// Failed request to the kernel.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetlinkError {
    #[error("cannot open a netlink socket: {0}")]
    Open(std::io::Error),
    #[error("cannot {operation}: {}", reason(error))]
    Request { operation: String, error: rtnetlink::Error },
    #[error("device '{device}' not found; available: {}", present.join(", "))]
    NoDevice { device: String, present: Vec<String> },
}

type Result<T> = std::result::Result<T, NetlinkError>;

impl Netlink {
    /// Opens the socket. Must be called in a tokio runtime.
    pub(crate) fn connect() -> Result<Self> {
        let (connection, handle, _messages) = rtnetlink::new_connection().map_err(NetlinkError::Open)?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Returns the interface with this name.
    pub(crate) async fn interface(&self, name: &str) -> Result<Interface> {
        let links: Vec<_> = collect("list the interfaces", self.handle.link().get().execute()).await?;
        let named = links.iter().find(|link| interface_name(link) == Some(name));
        named.map(read_interface).ok_or_else(|| NetlinkError::NoDevice {
            device: name.to_owned(),
            present: links.iter().filter_map(interface_name).map(str::to_owned).collect(),
        })
    }

    /// Sets an interface's MTU in bytes and queue length in packets, and brings it up.
    pub(crate) async fn bring_up(&self, index: u32, mtu: u32, queue_length: u32) -> Result<()> {
        let message = LinkUnspec::new_with_index(index).mtu(mtu).txqueuelen(queue_length).up().build();
        done(self.handle.link().set(message).execute().await, || format!("bring interface {index} up with MTU {mtu}"))
    }

    /// Returns the IPv4 addresses of an interface.
    pub(crate) async fn addresses(&self, index: u32) -> Result<Vec<AddressMessage>> {
        let request = self.handle.address().get().set_link_index_filter(index);
        let mut addresses: Vec<_> = collect("list the addresses", request.execute()).await?;
        addresses.retain(|address| address.header.family == AddressFamily::Inet);
        Ok(addresses)
    }

    /// Returns the IPv4 routes of all tables, without cached exceptions for single destinations (such as a path MTU).
    pub(crate) async fn routes(&self) -> Result<Vec<RouteMessage>> {
        let filter = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let mut routes: Vec<_> = collect("list the routes", self.handle.route().get(filter).execute()).await?;
        let is_cached = |route: &RouteMessage| route.header.flags.contains(RouteFlags::Cloned);
        routes.retain(|route| route.header.address_family == AddressFamily::Inet && !is_cached(route));
        Ok(routes)
    }

    /// Returns the next hop of packets with `mark` to `destination` by interface `index`: the gateway, or the
    /// destination if it is on the link. `None` for a destination that is not unicast or not reached by that interface.
    pub(crate) async fn next_hop(&self, destination: Ipv4Addr, index: u32, mark: u32) -> Result<Option<Ipv4Addr>> {
        let request = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(destination, 32)
            .output_interface(index)
            .mark(mark)
            .build();
        let routes = collect("find a route", self.handle.route().get(request).execute()).await?;
        let by_interface = |route: &&RouteMessage| {
            route.header.kind == RouteType::Unicast && route.attributes.contains(&RouteAttribute::Oif(index))
        };
        Ok(routes.iter().find(by_interface).map(|route| gateway(route).unwrap_or(destination)))
    }

    /// Returns the link-layer address of a neighbour by interface `index`; `None` while the kernel has not resolved it.
    ///
    /// # Errors
    /// Also if the kernel has no entry for it, or is older than Linux 5.0, which can only list all neighbours.
    pub(crate) async fn neighbour(&self, neighbour: Ipv4Addr, index: u32) -> Result<Option<Vec<u8>>> {
        let mut request = NeighbourMessage::default();
        request.header.family = AddressFamily::Inet;
        request.header.ifindex = index;
        request.attributes = vec![NeighbourAttribute::Destination(neighbour.into())];
        // `rtnetlink`'s own request can only list all neighbours.
        let mut message = NetlinkMessage::from(RouteNetlinkMessage::GetNeighbour(request));
        message.header.flags = NLM_F_REQUEST;
        let operation = || "find a neighbour".to_owned();
        let mut replies = done(self.handle.clone().request(message), operation)?;
        match replies.next().await.map(|reply| reply.payload) {
            Some(NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(found))) => Ok(usable_address(found)),
            Some(NetlinkPayload::Error(error)) => done(Err(rtnetlink::Error::NetlinkError(error)), operation),
            _ => done(Err(rtnetlink::Error::RequestFailed), operation),
        }
    }

    /// Returns the IPv4 rules.
    pub(crate) async fn rules(&self) -> Result<Vec<RuleMessage>> {
        collect("list the rules", self.handle.rule().get(IpVersion::V4).execute()).await
    }

    /// Adds a route; `name` is for the error.
    pub(crate) async fn add_route(&self, route: RouteMessage, name: &str) -> Result<()> {
        done(self.handle.route().add(route).execute().await, || format!("add the {name}"))
    }

    /// Deletes a route; `name` is for the error.
    pub(crate) async fn delete_route(&self, route: RouteMessage, name: &str) -> Result<()> {
        done(self.handle.route().del(route).execute().await, || format!("delete the {name}"))
    }

    /// Adds a rule.
    pub(crate) async fn add_rule(&self, rule: RuleMessage) -> Result<()> {
        let mut request = self.handle.rule().add();
        *request.message_mut() = rule;
        done(request.execute().await, || "add a routing rule".to_owned())
    }

    /// Deletes a rule.
    pub(crate) async fn delete_rule(&self, rule: RuleMessage) -> Result<()> {
        done(self.handle.rule().del(rule).execute().await, || "delete a routing rule".to_owned())
    }
}

impl fmt::Debug for Netlink {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Netlink")
    }
}

async fn collect<T>(
    operation: &str,
    replies: impl Stream<Item = std::result::Result<T, rtnetlink::Error>>,
) -> Result<Vec<T>> {
    done(replies.try_collect().await, || operation.to_owned())
}

fn done<T>(result: std::result::Result<T, rtnetlink::Error>, operation: impl FnOnce() -> String) -> Result<T> {
    result.map_err(|error| NetlinkError::Request { operation: operation(), error })
}

/// Returns the kernel's error text instead of a dump of its message.
fn reason(error: &rtnetlink::Error) -> String {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io().to_string(),
        other => other.to_string(),
    }
}

/// Returns the route's gateway, if it has one.
pub(crate) fn gateway(route: &RouteMessage) -> Option<Ipv4Addr> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(address)) => Some(*address),
        _ => None,
    })
}

/// Returns the neighbour's address if the kernel itself uses it in this state (`NUD_VALID`).
fn usable_address(neighbour: NeighbourMessage) -> Option<Vec<u8>> {
    use NeighbourState::{Delay, Permanent, Probe, Reachable, Stale};
    let is_usable = matches!(neighbour.header.state, Permanent | Probe | Reachable | Stale | Delay);
    neighbour.attributes.into_iter().filter(|_| is_usable).find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(address) => Some(address),
        _ => None,
    })
}

fn interface_name(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

fn read_interface(message: &LinkMessage) -> Interface {
    let is_up = message.header.flags.contains(LinkFlags::Up);
    let mut interface = Interface { index: message.header.index, mtu: 0, is_up, tx_dropped: 0 };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
            LinkAttribute::Stats64(stats) => interface.tx_dropped = stats.tx_dropped,
            _ => {}
        }
    }
    interface
}
