//! Policy routing of packets into the TUN device: two rules and a routing table, added and removed together.
//!
//! The first rule routes the packets that the shaper itself sends, which are marked, by the main table. The second
//! routes the packets that this node sends (`iif lo`) by a copy of the main table, with the TUN device in place of the
//! shaped device. Not affected: packets that the main table routes by another device, local traffic, packets forwarded
//! for other nodes, sockets bound to the device, multipath routes, and IPv6.

mod routes;
mod rules;

use rtnetlink::packet_route::route::RouteMessage;

use crate::control_protocol::{RoutingState, RoutingStatus};
use crate::netlink::{Interface, Netlink, NetlinkError};
use crate::tun;

pub(crate) use rules::MARK;

/// Policy routing from one device into the TUN device.
#[derive(Debug)]
pub(crate) struct PolicyRouting {
    netlink: Netlink,
    device: Interface,
    tun: Interface,
}

type Result<T> = std::result::Result<T, NetlinkError>;

impl PolicyRouting {
    /// Creates the policy routing of packets that would leave by `device`, inactive at first.
    pub(crate) fn new(netlink: Netlink, device: Interface, tun: Interface) -> Self {
        Self { netlink, device, tun }
    }

    /// Brings the TUN device up. This alone does not change how packets are routed.
    pub(crate) async fn bring_up(&self) -> Result<()> {
        self.netlink.bring_up(self.tun.index, self.device.mtu, tun::QUEUE_PACKETS).await
    }

    /// Routes packets into the TUN device. If the routing is not active, it is removed and added as a whole.
    pub(crate) async fn activate(&self) -> Result<()> {
        if self.status().await?.state == RoutingState::Active {
            return Ok(());
        }
        remove(&self.netlink).await?;
        self.bring_up().await?;
        for route in self.required_routes().await? {
            let name = routes::describe(&route);
            self.netlink.add_route(route, &name).await?;
        }
        // The rule for the mark first: the other rule alone would route the shaper's own packets back to it.
        for rule in rules::required() {
            self.netlink.add_rule(rule).await?;
        }
        Ok(())
    }

    /// Routes packets by the unshaped link.
    pub(crate) async fn deactivate(&self) -> Result<()> {
        remove(&self.netlink).await
    }

    /// Returns the routing as the kernel has it.
    pub(crate) async fn status(&self) -> Result<RoutingStatus> {
        let rules = self.netlink.rules().await?;
        let routes = own_routes(self.netlink.routes().await?);
        if !rules.iter().any(rules::is_own) && routes.is_empty() {
            return Ok(RoutingStatus { state: RoutingState::Inactive, missing: Vec::new(), surplus: Vec::new() });
        }
        let required = self.required_routes().await?;
        let mut missing = rules::missing(&rules);
        missing.extend(routes::without(&required, &routes).map(routes::describe));
        if !self.netlink.interface(tun::NAME).await?.is_up {
            missing.push(format!("device {} is not up", tun::NAME));
        }
        let mut surplus = rules::surplus(&rules);
        let in_table = |route| format!("{} in table {}", routes::describe(route), rules::TABLE);
        surplus.extend(routes::without(&routes, &required).map(in_table));
        let state = if missing.is_empty() && surplus.is_empty() { RoutingState::Active } else { RoutingState::Broken };
        Ok(RoutingStatus { state, missing, surplus })
    }

    async fn required_routes(&self) -> Result<Vec<RouteMessage>> {
        let main = self.netlink.routes().await?;
        let addresses = self.netlink.addresses(self.device.index).await?;
        Ok(routes::required_routes(&main, &addresses, self.device.index, self.tun.index))
    }
}

/// Removes every rule and route with the shaper's numbers, also stale ones of a killed shaper.
pub(crate) async fn remove(netlink: &Netlink) -> Result<()> {
    let rules = netlink.rules().await?;
    // In reverse order: the shaper's packets need the rule for the mark while the other rule is present.
    for rule in rules.into_iter().filter(rules::is_own).rev() {
        netlink.delete_rule(rule).await?;
    }
    for route in own_routes(netlink.routes().await?) {
        let name = routes::describe(&route);
        netlink.delete_route(route, &name).await?;
    }
    Ok(())
}

/// Fails if other programs use policy routing: the shaper's rules precede theirs and copy only the main table, so
/// packets meant for a VPN, for example, would leave by the shaped device unencrypted.
pub(crate) async fn reject_foreign_rules(netlink: &Netlink) -> anyhow::Result<()> {
    let foreign = rules::foreign(&netlink.rules().await?);
    anyhow::ensure!(
        foreign.is_empty(),
        "cannot start the shaper: it would override other routing rules ({}; see `ip rule`). \
         Run it in its own network namespace or container",
        foreign.join(", ")
    );
    Ok(())
}

fn own_routes(mut routes: Vec<RouteMessage>) -> Vec<RouteMessage> {
    routes.retain(|route| routes::table_of(route) == rules::TABLE);
    routes
}
