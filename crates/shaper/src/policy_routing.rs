//! The way of packets through the shaper: two rules and a table, put in and taken out as one.
//!
//! The first rule lets the shaper's own, marked packets use the main table; the second sends what this node itself
//! sends (`iif lo`) to a table that copies the main one, with the TUN device in place of the shaped device. What the
//! main table sends by another device, and all local traffic, is untouched. So are packets forwarded for others,
//! sockets bound to the device, multipath routes, and IPv6.

mod routes;
mod rules;

use rtnetlink::packet_route::route::RouteMessage;

use crate::control_protocol::{RoutingState, RoutingStatus};
use crate::netlink::{Interface, Netlink, NetlinkError};
use crate::tun;

pub(crate) use rules::MARK;

/// The way from one device through the TUN device.
#[derive(Debug)]
pub(crate) struct PolicyRouting {
    netlink: Netlink,
    device: Interface,
    tun: Interface,
}

type Result<T> = std::result::Result<T, NetlinkError>;

impl PolicyRouting {
    /// The detour of packets that would leave by `device`; not yet open.
    pub(crate) fn new(netlink: Netlink, device: Interface, tun: Interface) -> Self {
        Self { netlink, device, tun }
    }

    /// Brings its TUN device up, which alone changes no packet's way.
    pub(crate) async fn bring_up(&self) -> Result<()> {
        self.netlink.bring_up(self.tun.index, self.device.mtu, tun::QUEUE_PACKETS).await
    }

    /// Makes packets take it. An open one stays as it is; anything else is taken down first and put up whole.
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
        // The mark's rule first: the other alone would send the shaper's own packets back to it.
        for rule in rules::required() {
            self.netlink.add_rule(rule).await?;
        }
        Ok(())
    }

    /// Makes packets take the bare link.
    pub(crate) async fn deactivate(&self) -> Result<()> {
        remove(&self.netlink).await
    }

    /// What of it the kernel has now.
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

/// Removes every rule and route that is ours by its numbers, whoever put it there: so what a killed shaper left goes too.
pub(crate) async fn remove(netlink: &Netlink) -> Result<()> {
    let rules = netlink.rules().await?;
    // Last first: the shaper's packets need the mark's rule for as long as the other one is there.
    for rule in rules.into_iter().filter(rules::is_own).rev() {
        netlink.delete_rule(rule).await?;
    }
    for route in own_routes(netlink.routes().await?) {
        let name = routes::describe(&route);
        netlink.delete_route(route, &name).await?;
    }
    Ok(())
}

/// Refuses to shape where somebody routes by policy: our rules come before theirs and copy the main table only, so that
/// what they send through a VPN, say, would leave by the shaped device in the clear.
pub(crate) async fn refuse_foreign_rules(netlink: &Netlink) -> anyhow::Result<()> {
    let foreign = rules::foreign(&netlink.rules().await?);
    anyhow::ensure!(
        foreign.is_empty(),
        "cannot shape where other routing rules are in force ({}; see `ip rule`): the shaper would override them. \
         Run it in a network namespace or container of its own",
        foreign.join(", ")
    );
    Ok(())
}

fn own_routes(mut routes: Vec<RouteMessage>) -> Vec<RouteMessage> {
    routes.retain(|route| routes::table_of(route) == rules::TABLE);
    routes
}
