//! Protocol between a shaper and its commands: one JSON object per line, over an abstract Unix socket.
//!
//! Abstract names belong to the network namespace: there is one shaper in each, and no file to remove.
//! A program that runs `shaper show` parses its output as a [`Status`].

use serde::{Deserialize, Serialize};

use crate::counters::Counters;
use model::{Condition, QueueLimit};

pub use crate::compensation::Compensation;
pub use crate::thread_scheduling::ThreadScheduling;

/// Abstract name of the socket, without the leading zero byte.
pub(crate) const SOCKET_NAME: &str = "testbed-shaper";

/// Request of a command to the running shaper, which replies with a [`Response`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Replace the whole condition. With the baseline, packets bypass the shaper.
    Set {
        /// The new condition.
        condition: Condition,
        /// Seed of its random decisions; `None`: the shaper generates one.
        seed: Option<u64>,
    },
    /// Return the status.
    Show,
}

/// Response of the shaper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// The request succeeded; the status was read back afterwards.
    Status(Box<Status>),
    /// The request failed, with the reason.
    Error(String),
}

/// Line that `shaper run` prints on stdout when it accepts commands and its condition is active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Kind of event.
    pub event: EventKind,
    /// Status as read back.
    #[serde(flatten)]
    pub status: Status,
}

/// Kind of event that a shaper prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The shaper accepts commands, and the requested condition is active.
    Ready,
}

/// Status of a running shaper, read back from the link and the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Process id of the shaper.
    pub pid: u32,
    /// Device whose outgoing packets are shaped.
    pub device: String,
    /// The shaper's own TUN device.
    pub tun: String,
    /// Condition that the link applies to new packets.
    pub condition: Condition,
    /// Maximum number of packets in the link.
    pub queue_limit: QueueLimit,
    /// Seed of the link's random decisions.
    pub seed: u64,
    /// Whether the kernel routes packets through the shaper.
    pub routing: RoutingStatus,
    /// Totals since the condition was set.
    pub counters: Counters,
    /// Packets that the kernel dropped before the shaper read them, since the condition was set. Not part of the
    /// condition: a value above 0 means that the host was overloaded. A GSO packet counts as one.
    pub tun_drops: u64,
    /// Largest time between a packet's release time and its send since the condition was set, in microseconds. Excludes
    /// the time before the shaper read the packet from the TUN device.
    pub max_lateness_us: u64,
    /// Memory used by the packets in the link, in bytes.
    #[serde(default)]
    pub memory_used_bytes: u64,
    /// Limit of `memory_used_bytes`. Packets above it are dropped and counted as `dropped_memory`.
    #[serde(default)]
    pub memory_limit_bytes: u64,
    /// Scheduling of the forwarder. It determines how late packets are on an overloaded host.
    pub scheduling: ThreadScheduling,
    /// Times that are subtracted from packets' delays because the shaper itself adds them.
    #[serde(default)]
    pub compensation: Compensation,
}

/// State of the policy routing through the shaper, read from the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingStatus {
    /// Whether packets are routed through the shaper.
    pub state: RoutingState,
    /// Descriptions of missing rules, routes and devices; empty when active.
    pub missing: Vec<String>,
    /// Descriptions of additional rules and routes by which packets may bypass the shaper; empty when active.
    #[serde(default)]
    pub surplus: Vec<String>,
}

/// Whether packets are routed through the shaper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoutingState {
    /// All rules and routes are present: packets are shaped.
    Active,
    /// No rule or route is present: packets use the unshaped link.
    Inactive,
    /// A rule or route is missing or surplus: packets may bypass the shaper.
    Broken,
}

impl Status {
    /// Returns whether the link has exactly the condition `requested` and the policy routing is in the state it
    /// requires.
    pub fn has_active(&self, requested: &Condition) -> bool {
        let required = if requested.is_baseline() { RoutingState::Inactive } else { RoutingState::Active };
        self.condition == *requested && self.routing.state == required
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: RoutingState) -> Status {
        Status {
            pid: 1,
            device: "eth0".into(),
            tun: "shaper0".into(),
            condition: Condition { delay: "50ms".parse().unwrap(), ..Condition::BASELINE },
            queue_limit: QueueLimit::NETEM_DEFAULT,
            seed: u64::MAX,
            routing: RoutingStatus { state, missing: Vec::new(), surplus: Vec::new() },
            counters: Counters::default(),
            tun_drops: 0,
            max_lateness_us: 0,
            memory_used_bytes: 0,
            memory_limit_bytes: 1 << 28,
            scheduling: ThreadScheduling::Normal,
            compensation: Compensation { arrival_ns: Some(20_000), timer_ns: 7_000 },
        }
    }

    #[test]
    fn messages_are_the_same_after_serialisation() {
        let ready = Event { event: EventKind::Ready, status: status(RoutingState::Active) };
        let line = serde_json::to_string(&ready).unwrap();
        assert!(line.starts_with(r#"{"event":"ready","#), "{line}");
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), ready);

        let request = r#"{"command":"set","condition":{"loss":"1%"},"seed":3}"#;
        let loss = Condition { loss: "1%".parse().unwrap(), ..Condition::BASELINE };
        assert_eq!(serde_json::from_str::<Request>(request).unwrap(), Request::Set { condition: loss, seed: Some(3) });
    }

    #[test]
    fn a_condition_is_in_force_only_with_active_routing() {
        let requested = status(RoutingState::Active).condition;
        for (state, expected) in
            [(RoutingState::Active, true), (RoutingState::Inactive, false), (RoutingState::Broken, false)]
        {
            assert_eq!(status(state).has_active(&requested), expected, "{state:?}");
        }
        assert!(!status(RoutingState::Active).has_active(&Condition::BASELINE));
        assert!(!status(RoutingState::Inactive).has_active(&Condition::BASELINE));
        let unshaped = Status { condition: Condition::BASELINE, ..status(RoutingState::Inactive) };
        assert!(unshaped.has_active(&Condition::BASELINE));
    }
}
