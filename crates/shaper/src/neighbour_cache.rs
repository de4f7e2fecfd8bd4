//! Ethernet address of the next hop of GSO packets: the kernel does not fill in the link header of a packet socket.
//!
//! The forwarder sends a request and never waits. A task on the control thread gets route and neighbour from the kernel
//! over rtnetlink. Until a reply arrives, a GSO packet is segmented into wire packets, which the kernel routes.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc as requests;

use crate::netlink::Netlink;
use crate::policy_routing::MARK;

/// An Ethernet address.
pub(crate) type Mac = [u8; 6];

/// Addresses that the forwarder has received.
#[derive(Debug)]
pub(crate) struct NeighbourCache {
    known: HashMap<Ipv4Addr, Known>,
    requests: requests::Sender<Ipv4Addr>,
    replies: mpsc::Receiver<Reply>,
}

/// A destination and the address of its next hop; `None`: segment GSO packets to it.
type Reply = (Ipv4Addr, Option<Mac>);

#[derive(Debug)]
struct Known {
    mac: Option<Mac>,
    requested: Instant,
    has_reply: bool,
}

/// Time after which the next hop is requested again and one GSO packet is segmented: only packets that the kernel
/// routes make it verify its neighbour.
const LIFETIME: Duration = Duration::from_secs(1);

/// Maximum number of known destinations. Beyond it all are discarded and requested again.
const MAX_KNOWN: usize = 4_096;

impl NeighbourCache {
    /// Creates a cache of next hops by the device with index `device`. Must be called in a tokio runtime, in which a
    /// task serves requests until the cache is dropped.
    pub(crate) fn start(netlink: Netlink, device: u32) -> Self {
        let (neighbours, receiver, replies) = Self::unconnected();
        tokio::spawn(resolve_requests(netlink, device, receiver, replies));
        neighbours
    }

    fn unconnected() -> (Self, requests::Receiver<Ipv4Addr>, mpsc::Sender<Reply>) {
        let (requests, receiver) = requests::channel(MAX_KNOWN);
        let (sender, replies) = mpsc::channel();
        (Self { known: HashMap::new(), requests, replies }, receiver, sender)
    }

    /// Returns the address to send a GSO packet for `destination` to; `None`: segment it.
    pub(crate) fn find(&mut self, destination: Ipv4Addr, now: Instant) -> Option<Mac> {
        for (destination, mac) in self.replies.try_iter() {
            if let Some(known) = self.known.get_mut(&destination) {
                known.mac = mac;
                known.has_reply = true;
            }
        }
        let known = self.known.get(&destination);
        if let Some(known) = known.filter(|known| now.duration_since(known.requested) < LIFETIME) {
            return known.mac;
        }
        // The previous reply is used until the new one arrives, for one more lifetime at most.
        let mac = known.filter(|known| known.has_reply).and_then(|known| known.mac);
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        // If the channel is full, the next GSO packet requests it again.
        if self.requests.try_send(destination).is_ok() {
            self.known.insert(destination, Known { mac, requested: now, has_reply: false });
        }
        None
    }
}

async fn resolve_requests(
    netlink: Netlink,
    device: u32,
    mut receiver: requests::Receiver<Ipv4Addr>,
    replies: mpsc::Sender<Reply>,
) {
    while let Some(destination) = receiver.recv().await {
        let mac = mac_towards(&netlink, device, destination).await;
        if replies.send((destination, mac)).is_err() {
            return;
        }
    }
}

/// Returns `None` also on an error: segmentation is always correct, only slower.
async fn mac_towards(netlink: &Netlink, device: u32, destination: Ipv4Addr) -> Option<Mac> {
    let hop = netlink.next_hop(destination, device, MARK).await.ok()??;
    netlink.neighbour(hop, device).await.ok()??.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const THERE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
    const MAC: Mac = [2, 0, 0, 0, 0, 1];
    const NEW_MAC: Mac = [2, 0, 0, 0, 0, 2];

    #[test]
    fn a_next_hop_is_requested_once_per_second_and_one_packet_is_segmented_each_time() {
        let (mut neighbours, mut receiver, replies) = NeighbourCache::unconnected();
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        assert_eq!([0, 1, 2].map(|millis| neighbours.find(THERE, at(millis))), [None; 3]);
        assert_eq!((receiver.try_recv().ok(), receiver.try_recv().ok()), (Some(THERE), None), "requested once");

        replies.send((THERE, Some(MAC))).unwrap();
        assert_eq!([3, 999].map(|millis| neighbours.find(THERE, at(millis))), [Some(MAC); 2]);
        // The second request: one packet is segmented, the others use the previous reply.
        assert_eq!([1_000, 1_001].map(|millis| neighbours.find(THERE, at(millis))), [None, Some(MAC)]);
        assert_eq!(receiver.try_recv().ok(), Some(THERE));
        replies.send((THERE, Some(NEW_MAC))).unwrap();
        assert_eq!(neighbours.find(THERE, at(1_002)), Some(NEW_MAC));
        replies.send((THERE, None)).unwrap();
        assert_eq!(neighbours.find(THERE, at(1_003)), None);
    }

    #[test]
    fn an_expired_reply_is_used_for_one_more_lifetime_only() {
        let (mut neighbours, _receiver, replies) = NeighbourCache::unconnected();
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        neighbours.find(THERE, at(0));
        replies.send((THERE, Some(MAC))).unwrap();
        assert_eq!([1, 1_000, 1_001].map(|millis| neighbours.find(THERE, at(millis))), [Some(MAC), None, Some(MAC)]);
        assert_eq!([2_000, 2_001].map(|millis| neighbours.find(THERE, at(millis))), [None; 2]);
    }

    #[test]
    fn without_replies_all_packets_are_segmented_and_memory_is_bounded() {
        let (mut neighbours, receiver, _replies) = NeighbourCache::unconnected();
        drop(receiver);
        let now = Instant::now();
        assert_eq!([neighbours.find(THERE, now), neighbours.find(THERE, now)], [None; 2]);
        assert!(neighbours.known.is_empty());

        let (mut neighbours, _receiver, _replies) = NeighbourCache::unconnected();
        for number in 0..3 * MAX_KNOWN as u32 {
            assert_eq!(neighbours.find(number.into(), now), None);
        }
        assert!(neighbours.known.len() <= MAX_KNOWN);
    }
}
