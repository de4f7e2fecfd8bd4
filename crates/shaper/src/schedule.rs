//! Packets in the link: each goes out by the rules of the condition under which it came in.
//!
//! A switch of condition opens a new lane. The lanes before it are delivered by their own times, as netem does when
//! its qdisc is changed, so a packet that came before a switch may be overtaken by one that came after it. Like the
//! link, this is pure: no I/O and no clock.

use std::collections::VecDeque;
use std::time::Duration;

use crate::condition::Condition;
use crate::core::{Link, Verdict};
use crate::counters::Counters;
use crate::parcel::Parcel;

/// All the lanes, the one in force last.
#[derive(Debug)]
pub(crate) struct Schedule {
    draining: Vec<Lane>,
    current: Lane,
    spare: Vec<Vec<u8>>,
}

/// One condition's link and the bytes of the packets in it, both in order of departure.
#[derive(Debug)]
struct Lane {
    link: Link,
    packets: VecDeque<Vec<u8>>,
}

/// Buffers kept for the next packets; beyond it (an 8 MB store) they go back to the allocator.
const MAX_SPARE: usize = 4_096;
const MAX_SPARE_BYTES: usize = 2_048;

impl Schedule {
    pub(crate) fn new(condition: Condition, seed: u64) -> Self {
        Self { draining: Vec::new(), current: Lane::new(condition, seed), spare: Vec::new() }
    }

    /// New packets follow `condition` from now on, and counters start again.
    pub(crate) fn switch(&mut self, condition: Condition, seed: u64) {
        let old = std::mem::replace(&mut self.current, Lane::new(condition, seed));
        self.draining.push(old);
        self.draining.retain(|lane| !lane.packets.is_empty());
    }

    /// Takes in a packet that arrived at `now`, or a bundle of them under a condition that keeps bundles.
    pub(crate) fn accept(&mut self, now: Duration, parcel: Parcel<'_>) {
        if let Verdict::SendAt(_) = self.current.link.on_bundle(now, parcel.packets(), parcel.wire_bytes()) {
            let mut bytes = self.spare.pop().unwrap_or_default();
            bytes.clear();
            bytes.extend_from_slice(parcel.bytes());
            self.current.packets.push_back(bytes);
        }
    }

    /// When the next packet is due, if any is waiting.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let lanes = self.draining.iter().chain([&self.current]);
        lanes.filter_map(|lane| lane.link.next_deadline()).min()
    }

    /// Hands the packets due by `now` to `send`, with the time each was due at; what it refuses is counted and gone.
    pub(crate) fn release<E>(&mut self, now: Duration, mut send: impl FnMut(Duration, &[u8]) -> Result<(), E>) {
        for lane in self.draining.iter_mut().chain([&mut self.current]) {
            lane.release(now, &mut self.spare, &mut send);
        }
        if !self.draining.is_empty() {
            self.draining.retain(|lane| !lane.packets.is_empty());
        }
    }

    /// The condition in force.
    pub(crate) fn condition(&self) -> Condition {
        self.current.link.condition()
    }

    /// Totals since the condition in force was set.
    pub(crate) fn counters(&self) -> Counters {
        self.current.link.counters()
    }
}

impl Lane {
    fn new(condition: Condition, seed: u64) -> Self {
        Self { link: Link::new(condition, seed), packets: VecDeque::new() }
    }

    fn release<E>(
        &mut self,
        now: Duration,
        spare: &mut Vec<Vec<u8>>,
        send: &mut impl FnMut(Duration, &[u8]) -> Result<(), E>,
    ) {
        while let Some(due) = self.link.pop_due(now) {
            let Some(bytes) = self.packets.pop_front() else { return };
            if send(due, &bytes).is_err() {
                self.link.last_was_not_sent();
            }
            // A bundle's buffer is no good for packets: it would keep 64 KiB for each.
            if spare.len() < MAX_SPARE && bytes.capacity() <= MAX_SPARE_BYTES {
                spare.push(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parcel::HEADER_BYTES;

    const MS: Duration = Duration::from_millis(1);

    fn delayed(delay: &str) -> Condition {
        Condition { delay: delay.parse().unwrap(), ..Condition::BASELINE }
    }

    /// A packet of 20 bytes that is known by its last one.
    fn accept(schedule: &mut Schedule, now: Duration, name: u8) {
        let mut bytes = [0; HEADER_BYTES + 20];
        bytes[HEADER_BYTES] = 0x45;
        bytes[HEADER_BYTES + 19] = name;
        schedule.accept(now, Parcel::parse(&bytes).unwrap());
    }

    fn released(schedule: &mut Schedule, now: Duration) -> Vec<u8> {
        let mut out = Vec::new();
        schedule.release(now, |_, packet| {
            out.push(packet[HEADER_BYTES + 19]);
            Ok::<(), ()>(())
        });
        out
    }

    #[test]
    fn packets_come_out_in_order_when_due() {
        let mut schedule = Schedule::new(delayed("10ms"), 0);
        accept(&mut schedule, Duration::ZERO, 1);
        accept(&mut schedule, MS, 2);
        assert_eq!(schedule.next_deadline(), Some(10 * MS));
        assert!(released(&mut schedule, 9 * MS).is_empty());
        assert_eq!(released(&mut schedule, 11 * MS), [1, 2]);
        assert_eq!(schedule.next_deadline(), None);
    }

    #[test]
    fn after_a_switch_old_packets_keep_their_times_and_counters_restart() {
        let mut schedule = Schedule::new(delayed("100ms"), 0);
        accept(&mut schedule, Duration::ZERO, 1);
        schedule.switch(delayed("10ms"), 0);
        accept(&mut schedule, MS, 2);
        assert_eq!((schedule.counters().packets, schedule.counters().queued), (1, 1));
        assert_eq!(schedule.next_deadline(), Some(11 * MS));
        assert_eq!(released(&mut schedule, 11 * MS), [2]);
        assert_eq!(schedule.next_deadline(), Some(100 * MS));
        assert_eq!(released(&mut schedule, 100 * MS), [1]);
        assert!(schedule.draining.is_empty());
        assert_eq!(schedule.counters().sent, 1);
    }

    #[test]
    fn a_packet_that_cannot_be_sent_is_counted_and_gone() {
        let mut schedule = Schedule::new(Condition::BASELINE, 0);
        accept(&mut schedule, MS, 1);
        schedule.release(MS, |_, _| Err(()));
        let counters = schedule.counters();
        assert_eq!((counters.sent, counters.send_errors, counters.queued), (0, 1, 0));
    }

    #[test]
    fn a_lost_packet_is_not_kept() {
        let mut schedule = Schedule::new(Condition { loss: "100%".parse().unwrap(), ..Condition::BASELINE }, 0);
        accept(&mut schedule, MS, 1);
        assert!(released(&mut schedule, Duration::MAX).is_empty());
        assert_eq!(schedule.counters().dropped_loss, 1);
    }
}
