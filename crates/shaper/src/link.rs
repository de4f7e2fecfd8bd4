//! The emulated link: decides which packets are lost and when each of the others leaves.
//!
//! Pure: no I/O and no clock. Times are durations since a fixed start, so the same seed and the same arrivals always
//! result in the same decisions. It does not read the bytes of packets.

use std::collections::VecDeque;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::counters::Counters;
use model::{Condition, Rate};

/// One direction of a link, under one condition.
///
/// Applies to each packet, in this order: loss (a lost packet takes no link time), the queue limit (packets queued or
/// in flight), the rate (packets sequentially, bytes counted from the IP header on, no Ethernet header), delay ±
/// jitter. Packets are never reordered: a packet whose delay would let it overtake its predecessor leaves together with
/// it.
#[derive(Debug)]
pub struct Link {
    condition: Condition,
    queue_limit: u64,
    loss_draws: ChaCha8Rng,
    jitter_draws: ChaCha8Rng,
    /// When the last bit of the previous packets has passed the rate limit.
    free_at: Duration,
    last_departure: Duration,
    departures: VecDeque<Departure>,
    /// Packets of the last departure that are counted as sent.
    last_packets: u64,
    counters: Counters,
}

/// Packets that leave together.
#[derive(Clone, Copy, Debug)]
struct Departure {
    at: Duration,
    packets: u64,
}

/// Decision about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The packet leaves at this time, on the clock of `now`.
    SendAt(Duration),
    /// The packet is dropped.
    Drop(DropReason),
}

/// Reason for which a packet is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Loss of the condition.
    Loss,
    /// The queue was full.
    QueueFull,
    /// The shaper's memory limit was reached. Not part of any condition.
    MemoryFull,
}

/// Whether a packet fits into the shaper's memory limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    Available,
    Full,
}

/// Random stream of the jitter, separate so that enabling jitter does not change which packets are lost.
const JITTER_STREAM: u64 = 1;

impl Link {
    /// Creates an empty link. All its decisions follow from `seed` and the packets' arrivals.
    pub fn new(condition: Condition, seed: u64) -> Self {
        let mut jitter_draws = ChaCha8Rng::seed_from_u64(seed);
        jitter_draws.set_stream(JITTER_STREAM);
        Self {
            condition,
            queue_limit: condition.effective_queue_limit().packets().into(),
            loss_draws: ChaCha8Rng::seed_from_u64(seed),
            jitter_draws,
            free_at: Duration::ZERO,
            last_departure: Duration::ZERO,
            departures: VecDeque::new(),
            last_packets: 0,
            counters: Counters::default(),
        }
    }

    /// Decides about a packet of `length` bytes, IP header included, that arrives at `now`.
    ///
    /// Packets that are due by `now` count against the queue limit until [`Link::pop_due`] removes them.
    pub fn on_packet(&mut self, now: Duration, length: usize) -> Verdict {
        self.on_arrival(now, 1, length as u64, Memory::Available)
    }

    /// Decides about a GSO packet of `packets` wire packets with `bytes` bytes in total that arrives at `now`. It
    /// leaves or is dropped as a whole; it is dropped if the queue has no room for all of its wire packets. For
    /// conditions that [keep GSO packets](Condition::keeps_gso_packets).
    pub fn on_gso_packet(&mut self, now: Duration, packets: u32, bytes: u64) -> Verdict {
        self.on_arrival(now, packets.into(), bytes, Memory::Available)
    }

    /// [`Link::on_gso_packet`] with the state of the memory. Full memory drops packets that loss and queue limit do
    /// not.
    pub(crate) fn on_arrival(&mut self, now: Duration, packets: u64, bytes: u64, memory: Memory) -> Verdict {
        debug_assert!(
            packets == 1 || self.condition.keeps_gso_packets(),
            "GSO packet under a condition for wire packets: {}",
            self.condition
        );
        self.counters.packets += packets;
        self.counters.bytes += bytes;
        // Both streams advance with every packet, also a dropped one: the draws of packet n are always the same.
        let lost = self.condition.loss.takes(self.loss_draws.next_u32());
        let propagation = self.draw_propagation();
        if lost {
            self.counters.dropped_loss += packets;
            return Verdict::Drop(DropReason::Loss);
        }
        if self.counters.queued + packets > self.queue_limit {
            self.counters.dropped_queue += packets;
            return Verdict::Drop(DropReason::QueueFull);
        }
        if memory == Memory::Full {
            self.counters.dropped_memory += packets;
            return Verdict::Drop(DropReason::MemoryFull);
        }
        let departure = self.serialise(now, bytes).saturating_add(propagation).max(self.last_departure);
        self.last_departure = departure;
        self.departures.push_back(Departure { at: departure, packets });
        self.counters.queued += packets;
        Verdict::SendAt(departure)
    }

    /// Returns when the next packet is due, if any is in the link.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.departures.front().map(|departure| departure.at)
    }

    /// Removes the oldest packet (or GSO packet) if it is due by `now`, and returns when it was due. It is counted as
    /// sent.
    pub fn pop_due(&mut self, now: Duration) -> Option<Duration> {
        self.next_deadline().filter(|due| *due <= now)?;
        let Departure { at, packets } = self.departures.pop_front()?;
        self.last_packets = packets;
        self.counters.queued -= packets;
        self.counters.sent += packets;
        Some(at)
    }

    /// Counts `packets` of the last departure as send errors instead of as sent, at most all of them.
    pub fn count_send_errors(&mut self, packets: u64) {
        let packets = packets.min(self.last_packets);
        self.last_packets -= packets;
        self.counters.sent -= packets;
        self.counters.send_errors += packets;
    }

    /// Returns the condition that the link was created with.
    pub fn condition(&self) -> Condition {
        self.condition
    }

    /// Returns the totals since the link was created.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Returns when the last bit of a packet has passed the rate limit.
    fn serialise(&mut self, now: Duration, bytes: u64) -> Duration {
        let start = self.free_at.max(now);
        self.free_at = match self.condition.rate {
            Some(rate) => start.saturating_add(transmission_time(rate, bytes)),
            None => start,
        };
        self.free_at
    }

    /// Draws delay ± jitter, uniform over every nanosecond in between.
    fn draw_propagation(&mut self) -> Duration {
        let delay = self.condition.delay.as_duration();
        let jitter = self.condition.jitter.as_duration();
        if jitter.is_zero() {
            return delay;
        }
        let choices = jitter.as_nanos() * 2 + 1;
        let offset = (u128::from(self.jitter_draws.next_u64()) * choices) >> 64;
        // At most two hours, twice the maximum delay: fits.
        let offset = Duration::from_nanos(u64::try_from(offset).unwrap_or(u64::MAX));
        (delay + offset).saturating_sub(jitter)
    }
}

/// Returns length over rate, rounded up to a nanosecond.
fn transmission_time(rate: Rate, bytes: u64) -> Duration {
    let nanosecond_bits = u128::from(bytes) * 8 * 1_000_000_000;
    let nanoseconds = nanosecond_bits.div_ceil(u128::from(rate.bits_per_second()));
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
