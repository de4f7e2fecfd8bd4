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
    max_lateness: Duration,
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
        Self {
            draining: Vec::new(),
            current: Lane::new(condition, seed),
            spare: Vec::new(),
            max_lateness: Duration::ZERO,
        }
    }

    /// New packets follow `condition` from now on; counters and lateness restart.
    pub(crate) fn switch(&mut self, condition: Condition, seed: u64) {
        let old = std::mem::replace(&mut self.current, Lane::new(condition, seed));
        self.max_lateness = Duration::ZERO;
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

    /// Hands the packets due by `now` to `send`, which returns how many of the parcel's packets could not be sent: they
    /// are counted and discarded. `clock` returns the time of each send, for the lateness. Returns the send errors.
    pub(crate) fn release(
        &mut self,
        now: Duration,
        mut clock: impl FnMut() -> Duration,
        mut send: impl FnMut(&[u8]) -> u64,
    ) -> u64 {
        let mut errors = 0;
        for lane in self.draining.iter_mut().chain([&mut self.current]) {
            while let Some((due, bytes)) = lane.pop_due(now) {
                self.max_lateness = self.max_lateness.max(clock().saturating_sub(due));
                let refused = send(&bytes);
                lane.link.count_send_errors(refused);
                errors += refused;
                // A bundle's buffer is no good for packets: it would keep 64 KiB for each.
                if self.spare.len() < MAX_SPARE && bytes.capacity() <= MAX_SPARE_BYTES {
                    self.spare.push(bytes);
                }
            }
        }
        if !self.draining.is_empty() {
            self.draining.retain(|lane| !lane.packets.is_empty());
        }
        errors
    }

    /// The condition in force.
    pub(crate) fn condition(&self) -> Condition {
        self.current.link.condition()
    }

    /// Totals since the condition in force was set.
    pub(crate) fn counters(&self) -> Counters {
        self.current.link.counters()
    }

    /// Largest lateness of a send since the condition in force was set.
    pub(crate) fn max_lateness(&self) -> Duration {
        self.max_lateness
    }
}

impl Lane {
    fn new(condition: Condition, seed: u64) -> Self {
        Self { link: Link::new(condition, seed), packets: VecDeque::new() }
    }

    /// Takes out the next packet due by `now`, with the time it was due at.
    fn pop_due(&mut self, now: Duration) -> Option<(Duration, Vec<u8>)> {
        let due = self.link.pop_due(now)?;
        Some((due, self.packets.pop_front()?))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

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
        schedule.release(
            now,
            || now,
            |packet| {
                out.push(packet[HEADER_BYTES + 19]);
                0
            },
        );
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
        assert_eq!(schedule.release(MS, || MS, |_| 1), 1);
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

    #[test]
    fn each_packet_of_a_burst_is_late_by_its_own_time() {
        let mut schedule = Schedule::new(delayed("10ms"), 0);
        (0..1_000).for_each(|_| accept(&mut schedule, Duration::ZERO, 1));
        // The release begins on time, and each send takes 7 µs.
        let now = Cell::new(10 * MS);
        let send = |_: &[u8]| {
            now.set(now.get() + Duration::from_micros(7));
            0
        };
        schedule.release(10 * MS, || now.get(), send);
        assert_eq!(schedule.max_lateness(), Duration::from_micros(999 * 7));
        schedule.switch(delayed("1ms"), 0);
        assert_eq!(schedule.max_lateness(), Duration::ZERO);
    }
}
