//! Packets in the link: each leaves at the time that the condition at its arrival determined.
//!
//! A switch of the condition creates a new queue. Packets in previous queues keep their times, as in netem when its
//! qdisc is changed: a packet that arrived before a switch may be overtaken by one that arrived after it. Pure like the
//! link: no I/O and no clock.

use std::collections::VecDeque;
use std::time::Duration;

use crate::counters::Counters;
use crate::link::{Link, Memory, Verdict};
use crate::tun_packet::TunPacket;
use model::Condition;

/// The queues of all conditions that still have packets in the link.
#[derive(Debug)]
pub(crate) struct Schedule {
    draining: Vec<PacketQueue>,
    current: PacketQueue,
    spare_buffers: Vec<Vec<u8>>,
    /// Bytes used by the packets of all queues.
    memory_used: u64,
    memory_limit: u64,
    max_lateness: Duration,
}

/// Link of one condition and the bytes of the packets in it, both in order of departure.
#[derive(Debug)]
struct PacketQueue {
    link: Link,
    packets: VecDeque<Vec<u8>>,
}

/// Maximum number and size of buffers kept for the next packets (8 MB in total); others are freed.
const MAX_SPARE_BUFFERS: usize = 4_096;
const MAX_SPARE_BUFFER_BYTES: usize = 2_048;

/// Memory per packet in addition to its buffer: entries in two queues, which may be half empty, and the allocator's
/// overhead.
const OVERHEAD_BYTES: usize = 128;

impl Schedule {
    /// Creates an empty schedule. `memory_limit` bounds the bytes used by the packets of all queues, spare buffers
    /// excluded.
    pub(crate) fn new(condition: Condition, seed: u64, memory_limit: u64) -> Self {
        Self {
            draining: Vec::new(),
            current: PacketQueue::new(condition, seed),
            spare_buffers: Vec::new(),
            memory_used: 0,
            memory_limit,
            max_lateness: Duration::ZERO,
        }
    }

    /// Applies `condition` to packets that arrive from now on; resets counters and lateness.
    pub(crate) fn switch(&mut self, condition: Condition, seed: u64) {
        let previous = std::mem::replace(&mut self.current, PacketQueue::new(condition, seed));
        self.max_lateness = Duration::ZERO;
        self.draining.push(previous);
        self.draining.retain(|queue| !queue.packets.is_empty());
    }

    /// Adds a packet that arrived at `now`. A GSO packet requires a condition that keeps them.
    pub(crate) fn accept(&mut self, now: Duration, packet: TunPacket<'_>) {
        let length = packet.bytes().len();
        let capacity = self.spare_buffers.last().map_or(length, |buffer| buffer.capacity().max(length));
        let fits = self.memory_used + memory_of(capacity) <= self.memory_limit;
        let memory = if fits { Memory::Available } else { Memory::Full };
        let packets = packet.wire_packets().into();
        if let Verdict::SendAt(_) = self.current.link.on_arrival(now, packets, packet.wire_bytes(), memory) {
            let spare = self.spare_buffers.pop().filter(|buffer| buffer.capacity() >= length);
            let mut bytes = spare.unwrap_or_else(|| Vec::with_capacity(length));
            bytes.clear();
            bytes.extend_from_slice(packet.bytes());
            self.memory_used += memory_of(bytes.capacity());
            self.current.packets.push_back(bytes);
        }
    }

    /// Returns when the next packet is due, if any is in a queue.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let queues = self.draining.iter().chain([&self.current]);
        queues.filter_map(|queue| queue.link.next_deadline()).min()
    }

    /// Passes each packet due by `now` to `send`, which returns the number of wire packets that could not be sent: they
    /// are counted and discarded. `clock` returns the time of each send, for the lateness. Returns the number of send
    /// errors.
    pub(crate) fn release(
        &mut self,
        now: Duration,
        mut clock: impl FnMut() -> Duration,
        mut send: impl FnMut(&[u8]) -> u64,
    ) -> u64 {
        let mut errors = 0;
        for queue in self.draining.iter_mut().chain([&mut self.current]) {
            while let Some((due, bytes)) = queue.pop_due(now) {
                self.max_lateness = self.max_lateness.max(clock().saturating_sub(due));
                let unsent = send(&bytes);
                queue.link.count_send_errors(unsent);
                errors += unsent;
                self.memory_used -= memory_of(bytes.capacity());
                // The buffer of a GSO packet (up to 64 KiB) is too large to keep for a wire packet.
                if self.spare_buffers.len() < MAX_SPARE_BUFFERS && bytes.capacity() <= MAX_SPARE_BUFFER_BYTES {
                    self.spare_buffers.push(bytes);
                }
            }
        }
        if !self.draining.is_empty() {
            self.draining.retain(|queue| !queue.packets.is_empty());
        }
        errors
    }

    /// Returns the current condition.
    pub(crate) fn condition(&self) -> Condition {
        self.current.link.condition()
    }

    /// Returns the totals since the current condition was set.
    pub(crate) fn counters(&self) -> Counters {
        self.current.link.counters()
    }

    /// Returns the largest lateness of a send since the current condition was set.
    pub(crate) fn max_lateness(&self) -> Duration {
        self.max_lateness
    }

    /// Returns the bytes used by the packets of all queues.
    pub(crate) fn memory_used(&self) -> u64 {
        self.memory_used
    }
}

/// Returns the bytes used by a packet in a buffer of `capacity` bytes.
fn memory_of(capacity: usize) -> u64 {
    (capacity + OVERHEAD_BYTES) as u64
}

impl PacketQueue {
    fn new(condition: Condition, seed: u64) -> Self {
        Self { link: Link::new(condition, seed), packets: VecDeque::new() }
    }

    /// Removes the next packet due by `now`. Returns it and its due time.
    fn pop_due(&mut self, now: Duration) -> Option<(Duration, Vec<u8>)> {
        let due = self.link.pop_due(now)?;
        Some((due, self.packets.pop_front()?))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::tun_packet::HEADER_BYTES;

    const MS: Duration = Duration::from_millis(1);

    fn delayed(delay: &str) -> Condition {
        Condition { delay: delay.parse().unwrap(), ..Condition::BASELINE }
    }

    /// Adds a packet of 20 bytes, identified by the last one.
    fn accept(schedule: &mut Schedule, now: Duration, name: u8) {
        let mut bytes = [0; HEADER_BYTES + 20];
        bytes[HEADER_BYTES] = 0x45;
        bytes[HEADER_BYTES + 19] = name;
        schedule.accept(now, TunPacket::parse(&bytes).unwrap());
    }

    fn released(schedule: &mut Schedule, now: Duration) -> Vec<u8> {
        let mut sent = Vec::new();
        schedule.release(
            now,
            || now,
            |packet| {
                sent.push(packet[HEADER_BYTES + 19]);
                0
            },
        );
        sent
    }

    #[test]
    fn packets_leave_in_order_when_due() {
        let mut schedule = Schedule::new(delayed("10ms"), 0, u64::MAX);
        accept(&mut schedule, Duration::ZERO, 1);
        accept(&mut schedule, MS, 2);
        assert_eq!(schedule.next_deadline(), Some(10 * MS));
        assert!(released(&mut schedule, 9 * MS).is_empty());
        assert_eq!(released(&mut schedule, 11 * MS), [1, 2]);
        assert_eq!(schedule.next_deadline(), None);
    }

    #[test]
    fn after_a_switch_previous_packets_keep_their_times_and_counters_restart() {
        let mut schedule = Schedule::new(delayed("100ms"), 0, u64::MAX);
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
    fn a_packet_that_cannot_be_sent_is_counted_and_discarded() {
        let mut schedule = Schedule::new(Condition::BASELINE, 0, u64::MAX);
        accept(&mut schedule, MS, 1);
        assert_eq!(schedule.release(MS, || MS, |_| 1), 1);
        let counters = schedule.counters();
        assert_eq!((counters.sent, counters.send_errors, counters.queued), (0, 1, 0));
    }

    #[test]
    fn a_lost_packet_is_not_kept() {
        let mut schedule =
            Schedule::new(Condition { loss: "100%".parse().unwrap(), ..Condition::BASELINE }, 0, u64::MAX);
        accept(&mut schedule, MS, 1);
        assert!(released(&mut schedule, Duration::MAX).is_empty());
        assert_eq!(schedule.counters().dropped_loss, 1);
    }

    #[test]
    fn each_packet_of_a_burst_is_late_by_its_own_time() {
        let mut schedule = Schedule::new(delayed("10ms"), 0, u64::MAX);
        (0..1_000).for_each(|_| accept(&mut schedule, Duration::ZERO, 1));
        // The release starts on time, and each send takes 7 µs.
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

    #[test]
    fn the_memory_limit_applies_to_the_packets_of_all_conditions_together() {
        let one = memory_of(HEADER_BYTES + 20);
        let mut schedule = Schedule::new(delayed("3600s"), 0, 3 * one);
        (1..=2).for_each(|name| accept(&mut schedule, Duration::ZERO, name));
        schedule.switch(delayed("2ms"), 0);
        (3..=5).for_each(|name| accept(&mut schedule, MS, name));
        assert_eq!(schedule.memory_used(), 3 * one);
        assert_eq!((schedule.counters().queued, schedule.counters().dropped_memory), (1, 2));
        assert_eq!(released(&mut schedule, 3 * MS), [3]);
        accept(&mut schedule, 3 * MS, 6);
        assert_eq!(schedule.counters().dropped_memory, 2, "a sent packet freed memory");
        assert_eq!(released(&mut schedule, Duration::MAX), [1, 2, 6]);
        assert_eq!(schedule.memory_used(), 0);
    }

    #[test]
    fn a_small_packet_in_a_large_spare_buffer_uses_the_memory_of_the_buffer() {
        let mut schedule = Schedule::new(delayed("1ms"), 0, u64::MAX);
        let mut large = [0; HEADER_BYTES + 1_500];
        large[HEADER_BYTES] = 0x45;
        schedule.accept(Duration::ZERO, TunPacket::parse(&large).unwrap());
        released(&mut schedule, MS);
        accept(&mut schedule, MS, 1);
        assert_eq!(schedule.memory_used(), memory_of(large.len()));
    }
}
