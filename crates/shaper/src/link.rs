//! The link itself: which packet is lost, and when each of the others leaves.
//!
//! No I/O and no clock: times come in as durations since any fixed start and decisions go out, so the same seed and the
//! same arrivals always give the same link. Packet bytes are none of its business.

use std::collections::VecDeque;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::counters::Counters;
use model::{Condition, Rate};

/// One direction of a link, under one condition.
///
/// Each packet meets, in this order: loss (a lost packet takes no link time), the queue limit (packets waiting or in
/// flight), the rate (one packet after the other, bytes counted from the IP header on, no Ethernet header), then
/// delay ± jitter. Packets never overtake each other: one that drew less jitter than its predecessor leaves with it.
#[derive(Debug)]
pub struct Link {
    condition: Condition,
    queue_limit: u64,
    loss_draws: ChaCha8Rng,
    jitter_draws: ChaCha8Rng,
    /// When the rate has finished with the packets before.
    free_at: Duration,
    last_departure: Duration,
    departures: VecDeque<Departure>,
    /// Packets of the last departure that count as sent.
    last_packets: u64,
    counters: Counters,
}

/// Packets that leave together.
#[derive(Clone, Copy, Debug)]
struct Departure {
    at: Duration,
    packets: u64,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It leaves at this time, on the clock of `now`.
    SendAt(Duration),
    /// It never leaves.
    Drop(DropReason),
}

/// Why a packet never leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The condition's loss took it.
    Loss,
    /// The queue was full.
    QueueFull,
    /// The shaper's memory limit was reached. Not part of any condition.
    MemoryFull,
}

/// Whether the shaper's memory limit leaves room for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    Available,
    Full,
}

/// Jitter has a random stream of its own, so that switching it on does not change which packets are lost.
const JITTER_STREAM: u64 = 1;

impl Link {
    /// An empty link. All its decisions follow from `seed` and the packets' arrivals.
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

    /// Takes a packet of `length` bytes, IP header included, that arrives at `now`.
    ///
    /// Departures that are due by `now` leave room in the queue only after [`Link::pop_due`] took them.
    pub fn on_packet(&mut self, now: Duration, length: usize) -> Verdict {
        self.on_arrival(now, 1, length as u64, Memory::Available)
    }

    /// Takes `packets` packets, of `bytes` bytes in all, that arrive at `now` as one and leave as one: all of them, or
    /// none when the queue has no room for all. For conditions that [keep GSO packets](Condition::keeps_bundles).
    pub fn on_gso_packet(&mut self, now: Duration, packets: u32, bytes: u64) -> Verdict {
        self.on_arrival(now, packets.into(), bytes, Memory::Available)
    }

    /// [`Link::on_bundle`] with the state of the memory. Full memory drops what loss and queue limit let pass.
    pub(crate) fn on_arrival(&mut self, now: Duration, packets: u64, bytes: u64, memory: Memory) -> Verdict {
        debug_assert!(packets == 1 || self.condition.keeps_gso_packets(), "each packet must meet {}", self.condition);
        self.counters.packets += packets;
        self.counters.bytes += bytes;
        // Both streams advance with every packet, whatever becomes of it: packet n always meets the same draws.
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

    /// When the next packet is due, if any is in the link.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.departures.front().map(|departure| departure.at)
    }

    /// Lets the oldest packet (or GSO packet) out if it is due by `now`, and tells when it was due. It counts as sent.
    pub fn pop_due(&mut self, now: Duration) -> Option<Duration> {
        self.next_deadline().filter(|due| *due <= now)?;
        let Departure { at, packets } = self.departures.pop_front()?;
        self.last_packets = packets;
        self.counters.queued -= packets;
        self.counters.sent += packets;
        Some(at)
    }

    /// Counts `packets` of the last departure as send errors instead of as sent, at most all of it.
    pub fn count_send_errors(&mut self, packets: u64) {
        let packets = packets.min(self.last_packets);
        self.last_packets -= packets;
        self.counters.sent -= packets;
        self.counters.send_errors += packets;
    }

    /// The condition that the link was made with.
    pub fn condition(&self) -> Condition {
        self.condition
    }

    /// Totals since the link was made.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// When the last bit of a packet has passed the rate.
    fn serialise(&mut self, now: Duration, bytes: u64) -> Duration {
        let start = self.free_at.max(now);
        self.free_at = match self.condition.rate {
            Some(rate) => start.saturating_add(transmission_time(rate, bytes)),
            None => start,
        };
        self.free_at
    }

    /// Delay ± jitter, uniform over every nanosecond between.
    fn draw_propagation(&mut self) -> Duration {
        let delay = self.condition.delay.as_duration();
        let jitter = self.condition.jitter.as_duration();
        if jitter.is_zero() {
            return delay;
        }
        let choices = jitter.as_nanos() * 2 + 1;
        let offset = (u128::from(self.jitter_draws.next_u64()) * choices) >> 64;
        // At most twice the longest delay, an hour: fits.
        let offset = Duration::from_nanos(u64::try_from(offset).unwrap_or(u64::MAX));
        (delay + offset).saturating_sub(jitter)
    }
}

/// Length over rate, rounded up to a nanosecond.
fn transmission_time(rate: Rate, bytes: u64) -> Duration {
    let nanosecond_bits = u128::from(bytes) * 8 * 1_000_000_000;
    let nanoseconds = nanosecond_bits.div_ceil(u128::from(rate.bits_per_second()));
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
