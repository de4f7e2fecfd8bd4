//! Derives the routes of the shaper's table from the main table and the device's addresses. Pure.

use std::net::Ipv4Addr;

use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};

use crate::netlink::gateway;
use crate::policy_routing::rules::TABLE;

/// Returns the routes of the shaper's table.
///
/// A route by `device` becomes one by `tun`, with the source address that the kernel would have chosen; any other
/// becomes a `throw`, which makes the kernel use the main table.
pub(super) fn required_routes(
    routes: &[RouteMessage],
    addresses: &[AddressMessage],
    device: u32,
    tun: u32,
) -> Vec<RouteMessage> {
    let main = routes.iter().filter(|route| table_of(route) == u32::from(RouteHeader::RT_TABLE_MAIN));
    main.map(|route| if leaves_by(route, device) { divert(route, addresses, tun) } else { throw(route) }).collect()
}

/// Returns whether two messages describe the same route. Ignores attributes that the kernel adds to its reply.
fn are_same(one: &RouteMessage, other: &RouteMessage) -> bool {
    let key = |route: &RouteMessage| {
        let header = &route.header;
        (destination(route), header.destination_prefix_length, header.tos, header.kind, priority(route), output(route))
    };
    key(one) == key(other)
}

/// Returns the routes that are not among `others`.
pub(super) fn without<'a>(
    routes: &'a [RouteMessage],
    others: &'a [RouteMessage],
) -> impl Iterator<Item = &'a RouteMessage> {
    routes.iter().filter(|route| !others.iter().any(|other| are_same(route, other)))
}

/// Describes a route, for the lists of missing and surplus routes.
pub(super) fn describe(route: &RouteMessage) -> String {
    format!("route to {}/{}", destination(route), route.header.destination_prefix_length)
}

/// Returns the number of the route's table.
pub(super) fn table_of(route: &RouteMessage) -> u32 {
    find(route, |attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    })
    .unwrap_or(u32::from(route.header.table))
}

fn leaves_by(route: &RouteMessage, device: u32) -> bool {
    route.header.kind == RouteType::Unicast && output(route) == Some(device)
}

fn divert(route: &RouteMessage, addresses: &[AddressMessage], tun: u32) -> RouteMessage {
    let builder = like(route).scope(RouteScope::Link).output_interface(tun);
    let source = preferred_source(route).or_else(|| source_towards(gateway(route), addresses));
    let builder = match source {
        Some(source) => builder.pref_source(source),
        None => builder,
    };
    let mut divert = builder.build();
    // Windows, MSS and others: TCP must behave as on the unshaped link.
    let metrics = route.attributes.iter().filter(|attribute| matches!(attribute, RouteAttribute::Metrics(_)));
    divert.attributes.extend(metrics.cloned());
    divert
}

fn throw(route: &RouteMessage) -> RouteMessage {
    like(route).kind(RouteType::Throw).build()
}

/// Builds a route in the shaper's table with the same destination, type of service and metric.
fn like(route: &RouteMessage) -> RouteMessageBuilder<Ipv4Addr> {
    let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
        .table_id(TABLE)
        .protocol(RouteProtocol::Boot)
        .tos(route.header.tos)
        .destination_prefix(destination(route), route.header.destination_prefix_length);
    if let Some(priority) = priority(route) {
        builder = builder.priority(priority);
    }
    builder
}

/// Returns the source address of a packet to `gateway`: the primary address in the gateway's network, otherwise the
/// first.
fn source_towards(gateway: Option<Ipv4Addr>, addresses: &[AddressMessage]) -> Option<Ipv4Addr> {
    let primary = |address: &&AddressMessage| !address.header.flags.contains(AddressHeaderFlags::Secondary);
    let mut candidates = addresses.iter().filter(primary);
    let near = gateway.and_then(|gateway| candidates.clone().find(|address| covers(address, gateway)));
    near.or_else(|| candidates.next()).and_then(local)
}

fn covers(address: &AddressMessage, host: Ipv4Addr) -> bool {
    let network = address.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(std::net::IpAddr::V4(network)) => Some(*network),
        _ => None,
    });
    let host_bits = 32u32.saturating_sub(u32::from(address.header.prefix_len));
    network.is_some_and(|network| (u64::from(network.to_bits() ^ host.to_bits()) >> host_bits) == 0)
}

fn local(address: &AddressMessage) -> Option<Ipv4Addr> {
    address.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(std::net::IpAddr::V4(local)) => Some(*local),
        _ => None,
    })
}

fn find<T>(route: &RouteMessage, pick: impl Fn(&RouteAttribute) -> Option<T>) -> Option<T> {
    route.attributes.iter().find_map(pick)
}

/// The default route has no destination attribute.
fn destination(route: &RouteMessage) -> Ipv4Addr {
    find(route, |attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(*address),
        _ => None,
    })
    .unwrap_or(Ipv4Addr::UNSPECIFIED)
}

fn preferred_source(route: &RouteMessage) -> Option<Ipv4Addr> {
    find(route, |attribute| match attribute {
        RouteAttribute::PrefSource(RouteAddress::Inet(address)) => Some(*address),
        _ => None,
    })
}

fn output(route: &RouteMessage) -> Option<u32> {
    find(route, |attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}

fn priority(route: &RouteMessage) -> Option<u32> {
    find(route, |attribute| match attribute {
        RouteAttribute::Priority(priority) => Some(*priority),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: u32 = 2;
    const OTHER: u32 = 3;
    const TUN: u32 = 9;

    fn to(network: [u8; 4], prefix: u8) -> RouteMessageBuilder<Ipv4Addr> {
        RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(network.into(), prefix)
    }

    fn address(local: [u8; 4], prefix: u8) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.prefix_len = prefix;
        let ip = std::net::IpAddr::from(local);
        message.attributes = vec![AddressAttribute::Address(ip), AddressAttribute::Local(ip)];
        message
    }

    /// Returns kind, device and source of the only route derived from `route`.
    fn planned(route: RouteMessage) -> (RouteType, Option<u32>, Option<Ipv4Addr>) {
        let addresses = [address([10, 0, 0, 5], 24), address([172, 16, 0, 5], 16)];
        let routes = required_routes(&[route], &addresses, DEVICE, TUN);
        let [route] = routes.as_slice() else { panic!("expected one route, got {routes:?}") };
        assert_eq!(table_of(route), TABLE);
        (route.header.kind, output(route), preferred_source(route))
    }

    #[test]
    fn routes_by_the_device_become_routes_by_the_tun_with_the_source_that_the_kernel_would_choose() {
        let on_link = to([10, 0, 0, 0], 24).output_interface(DEVICE);
        let source = |bytes: [u8; 4]| Some(Ipv4Addr::from(bytes));
        for (route, expected) in [
            (on_link.clone(), source([10, 0, 0, 5])),
            (on_link.pref_source([10, 0, 0, 77].into()), source([10, 0, 0, 77])),
            (to([0; 4], 0).output_interface(DEVICE).gateway([172, 16, 9, 1].into()), source([172, 16, 0, 5])),
            (to([0; 4], 0).output_interface(DEVICE).gateway([192, 168, 0, 1].into()), source([10, 0, 0, 5])),
        ] {
            assert_eq!(planned(route.build()), (RouteType::Unicast, Some(TUN), expected));
        }
    }

    #[test]
    fn all_other_routes_defer_to_the_main_table() {
        for route in [
            to([10, 9, 0, 0], 16).output_interface(OTHER).build(),
            to([10, 8, 0, 0], 16).kind(RouteType::BlackHole).build(),
            to([10, 7, 0, 0], 16).output_interface(DEVICE).kind(RouteType::Prohibit).build(),
        ] {
            assert_eq!(planned(route), (RouteType::Throw, None, None));
        }
    }

    #[test]
    fn other_tables_are_not_copied() {
        let elsewhere = to([10, 0, 0, 0], 24).table_id(255).output_interface(DEVICE).build();
        assert!(required_routes(&[elsewhere], &[], DEVICE, TUN).is_empty());
    }

    #[test]
    fn metrics_and_the_order_of_routes_are_kept() {
        let window = RouteAttribute::Metrics(vec![rtnetlink::packet_route::route::RouteMetric::InitCwnd(30)]);
        let mut route = to([10, 0, 0, 0], 24).output_interface(DEVICE).priority(7).build();
        route.attributes.push(window.clone());
        let planned = required_routes(&[route], &[], DEVICE, TUN);
        assert_eq!(priority(&planned[0]), Some(7));
        assert!(planned[0].attributes.contains(&window));
    }

    #[test]
    fn a_route_is_recognised_among_the_kernels_replies() {
        let required = to([10, 0, 0, 0], 24).table_id(TABLE).output_interface(TUN).build();
        let mut reply = required.clone();
        reply.attributes.push(RouteAttribute::Uid(0));
        assert!(are_same(&reply, &required));
        assert!(!are_same(&to([10, 0, 0, 0], 25).output_interface(TUN).build(), &required));
        assert_eq!(describe(&required), "route to 10.0.0.0/24");
    }
}
