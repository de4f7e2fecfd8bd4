//! Packet counters of a link.

use serde::{Deserialize, Serialize};

/// Totals since the current condition was set.
///
/// Invariant: `packets == sent + send_errors + dropped_loss + dropped_queue + dropped_memory + queued`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Packets that entered the link.
    pub packets: u64,
    /// Bytes that entered the link, counted from the IP header on.
    pub bytes: u64,
    /// Packets that left the link.
    pub sent: u64,
    /// Packets that the kernel could not send.
    pub send_errors: u64,
    /// Packets dropped because of the condition's loss.
    pub dropped_loss: u64,
    /// Packets dropped because the queue was full.
    pub dropped_queue: u64,
    /// Packets dropped because the shaper's memory limit was reached. Not part of the condition.
    #[serde(default)]
    pub dropped_memory: u64,
    /// Packets in the link now, queued or in flight.
    pub queued: u64,
}
