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
    kernel: Netlink,
    device: Interface,
    tun: Interface,
}

type Result<T> = std::result::Result<T, NetlinkError>;

impl PolicyRouting {
    /// The policy routing of packets that would leave by `device`; not yet open.
    pub(crate) fn new(kernel: Netlink, device: Interface, tun: Interface) -> Self {
        Self { kernel, device, tun }
    }

    /// Brings its TUN device up, which alone changes no packet's way.
    pub(crate) async fn bring_up(&self) -> Result<()> {
        self.kernel.bring_up(self.tun.index, self.device.mtu, tun::QUEUE_PACKETS).await
    }

    /// Makes packets take it. An open one stays as it is; anything else is taken down first and put up whole.
    pub(crate) async fn open(&self) -> Result<()> {
        if self.routing().await?.state == RoutingState::Active {
            return Ok(());
        }
        remove(&self.kernel).await?;
        self.bring_up().await?;
        for route in self.wanted_routes().await? {
            let name = routes::describe(&route);
            self.kernel.add_route(route, &name).await?;
        }
        // The mark's rule first: the other alone would send the shaper's own packets back to it.
        for rule in rules::wanted() {
            self.kernel.add_rule(rule).await?;
        }
        Ok(())
    }

    /// Makes packets take the unshaped link.
    pub(crate) async fn close(&self) -> Result<()> {
        remove(&self.kernel).await
    }

    /// What of it the kernel has now.
    pub(crate) async fn routing(&self) -> Result<RoutingStatus> {
        let rules = self.kernel.rules().await?;
        let routes = ours(self.kernel.routes().await?);
        if !rules.iter().any(rules::is_ours) && routes.is_empty() {
            return Ok(RoutingStatus { state: RoutingState::Inactive, missing: Vec::new(), surplus: Vec::new() });
        }
        let wanted = self.wanted_routes().await?;
        let mut missing = rules::missing(&rules);
        missing.extend(routes::without(&wanted, &routes).map(routes::describe));
        if !self.kernel.link(tun::NAME).await?.is_up {
            missing.push(format!("device {} is not up", tun::NAME));
        }
        let mut surplus = rules::surplus(&rules);
        let in_table = |route| format!("{} in table {}", routes::describe(route), rules::TABLE);
        surplus.extend(routes::without(&routes, &wanted).map(in_table));
        let state = if missing.is_empty() && surplus.is_empty() { RoutingState::Active } else { RoutingState::Broken };
        Ok(RoutingStatus { state, missing, surplus })
    }

    async fn wanted_routes(&self) -> Result<Vec<RouteMessage>> {
        let main = self.kernel.routes().await?;
        let addresses = self.kernel.addresses(self.device.index).await?;
        Ok(routes::detour_routes(&main, &addresses, self.device.index, self.tun.index))
    }
}

/// Removes every rule and route with the shaper's numbers, whichever process added it: so what a killed shaper left
/// goes too.
pub(crate) async fn remove(kernel: &Netlink) -> Result<()> {
    let rules = kernel.rules().await?;
    // Last first: the shaper's packets need the mark's rule for as long as the other one is there.
    for rule in rules.into_iter().filter(rules::is_ours).rev() {
        kernel.delete_rule(rule).await?;
    }
    for route in ours(kernel.routes().await?) {
        let name = routes::describe(&route);
        kernel.delete_route(route, &name).await?;
    }
    Ok(())
}

/// Rejects a namespace with other policy routing: the shaper's rules come before theirs and copy the main table only,
/// so that what they send through a VPN, say, would leave by the shaped device in the clear.
pub(crate) async fn refuse_foreign_rules(kernel: &Netlink) -> anyhow::Result<()> {
    let foreign = rules::foreign(&kernel.rules().await?);
    anyhow::ensure!(
        foreign.is_empty(),
        "cannot shape where other routing rules are in force ({}; see `ip rule`): the shaper would override them. \
         Run it in a network namespace or container of its own",
        foreign.join(", ")
    );
    Ok(())
}

fn ours(mut routes: Vec<RouteMessage>) -> Vec<RouteMessage> {
    routes.retain(|route| routes::table_of(route) == rules::TABLE);
    routes
}
