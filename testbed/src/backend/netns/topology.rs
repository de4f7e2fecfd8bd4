//! Links of the environment, created by netlink: a bridge, and a veth pair to each node.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;

use anyhow::Context;
use rtnetlink::packet_route::link::{InfoData, InfoVeth};
use rtnetlink::packet_route::neighbour::NeighbourState;
use rtnetlink::{Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth};

use crate::backend::DEVICE;
use crate::backend::netns::namespace::Namespace;

/// Length of the environment network's prefix, bits.
const PREFIX_BITS: u8 = 16;

/// Connection of one node to the bridge.
pub(crate) struct VethLink {
    /// Name of the veth's end at the bridge.
    pub(crate) bridge_end: String,
    /// Address of the end in the node.
    pub(crate) address: Ipv4Addr,
    /// Addresses of the nodes with which it exchanges packets.
    pub(crate) peers: Vec<Ipv4Addr>,
}

/// The bridge in the environment's namespace, which connects all nodes.
pub(crate) struct Bridge {
    /// Netlink socket in the environment's namespace.
    netlink: Handle,
    /// Interface index of the bridge.
    index: u32,
    /// The environment's namespace, into which one end of each veth pair is moved.
    environment: File,
}

impl Bridge {
    /// Creates a bridge in the namespace of the calling thread. It has no address, so environments on the same host
    /// cannot reach each other.
    pub(crate) async fn make(name: &str) -> anyhow::Result<Self> {
        let netlink = netlink()?;
        netlink.link().add(LinkBridge::new(name).up().build()).execute().await.context("adding the bridge")?;
        let index = index_of(&netlink, name).await?;
        let environment = File::open("/proc/thread-self/ns/net").context("opening the environment's namespace")?;
        Ok(Self { netlink, index, environment })
    }

    /// Creates the veth pair, configures the end in the node and connects the other end to the bridge.
    pub(crate) async fn attach(&self, node: &Namespace, link: VethLink) -> anyhow::Result<()> {
        let environment = self.environment.try_clone().context("copying the environment's handle")?;
        let bridge_end = link.bridge_end.clone();
        node.inside(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.context("starting a runtime")?.block_on(set_up_node_end(&environment, &link))
        })
        .await?;
        let port = index_of(&self.netlink, &bridge_end).await?;
        let joined = LinkUnspec::new_with_index(port).controller(self.index).up().build();
        self.netlink.link().set(joined).execute().await.context("joining the bridge")
    }

    /// Removes a node's link if it still exists.
    pub(crate) async fn detach(&self, bridge_end: &str) -> anyhow::Result<()> {
        // The kernel removes the pair with the node's namespace, shortly after its last process has ended.
        let Ok(index) = index_of(&self.netlink, bridge_end).await else { return Ok(()) };
        match self.netlink.link().del(index).execute().await {
            Err(error) if index_of(&self.netlink, bridge_end).await.is_ok() => {
                Err(error).with_context(|| format!("removing the link {bridge_end}"))
            }
            _ => Ok(()),
        }
    }
}

/// Creates, in the node, the veth pair with its address and the neighbour entries of its peers, and sets all links up.
async fn set_up_node_end(environment: &File, link: &VethLink) -> anyhow::Result<()> {
    let VethLink { bridge_end, address, peers } = link;
    let (bridge_end, address) = (bridge_end.as_str(), *address);
    let netlink = netlink()?;
    let loopback = LinkUnspec::new_with_name("lo").up().build();
    netlink.link().set(loopback).execute().await.context("setting lo up")?;
    let peer = LinkMessageBuilder::<LinkUnspec>::new()
        .name(bridge_end.to_owned())
        .setns_by_fd(environment.as_raw_fd())
        .build();
    let veth = LinkVeth::new(DEVICE, bridge_end).set_info_data(InfoData::Veth(InfoVeth::Peer(peer)));
    let veth = veth.address(hardware_address(address)).build();
    netlink.link().add(veth).execute().await.context("adding the veth pair")?;
    let index = index_of(&netlink, DEVICE).await?;
    let add = netlink.address().add(index, IpAddr::V4(address), PREFIX_BITS);
    add.execute().await.with_context(|| format!("adding the address {address}"))?;
    let up = LinkUnspec::new_with_index(index).up().build();
    netlink.link().set(up).execute().await.with_context(|| format!("setting {DEVICE} up"))?;
    for peer in peers {
        // All namespaces of a host share the kernel's neighbour table. It holds 1024 dynamic entries by default
        // (gc_thresh3), of which a client would need two. Permanent entries are exempt (`neigh_alloc` in
        // net/core/neighbour.c).
        let add = netlink.neighbours().add(index, IpAddr::V4(*peer)).link_layer_address(&hardware_address(*peer));
        let add = add.state(NeighbourState::Permanent);
        add.execute().await.with_context(|| format!("adding the permanent neighbour {peer}"))?;
    }
    Ok(())
}

/// Returns a locally administered MAC address derived from the IP address: the address of a recreated node does not
/// change, so the neighbour entries of its peers stay valid.
fn hardware_address(address: Ipv4Addr) -> Vec<u8> {
    [&[0x02, 0x00][..], &address.octets()].concat()
}

/// Opens a netlink socket in the namespace of the calling thread, served by the calling runtime.
fn netlink() -> anyhow::Result<Handle> {
    let (connection, handle, _) = rtnetlink::new_connection().context("opening netlink")?;
    tokio::spawn(connection);
    Ok(handle)
}

async fn index_of(netlink: &Handle, name: &str) -> anyhow::Result<u32> {
    use futures_util::TryStreamExt;
    let mut found = netlink.link().get().match_name(name.to_owned()).execute();
    let link = found.try_next().await.with_context(|| format!("looking for the link {name}"))?;
    Ok(link.with_context(|| format!("no link {name}"))?.header.index)
}
