//! What a shaper and its commands say to each other: one JSON object a line, over an abstract Unix socket.
//!
//! Abstract names belong to the network namespace, so that there is one shaper for each and no file is left behind.
//! A program that runs `shaper show` parses its output as a [`Status`].

use serde::{Deserialize, Serialize};

use crate::counters::Counters;
use model::{Condition, QueueLimit};

pub use crate::compensation::Compensation;
pub use crate::thread_scheduling::ThreadScheduling;

/// Abstract name of the socket, without the leading zero byte.
pub(crate) const SOCKET_NAME: &str = "testbed-shaper";

/// What a command asks of the running shaper. Each answer is a [`Response`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Replace the condition, all of it. The baseline takes the shaper out of the packets' way.
    Set {
        /// The new condition.
        condition: Condition,
        /// What its random decisions follow from; without it the shaper draws one.
        seed: Option<u64>,
    },
    /// Tell the state.
    Show,
}

/// The shaper's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// It was done; this is the state as read back after it.
    Status(Box<Status>),
    /// It was not done, and why.
    Error(String),
}

/// The line that `shaper run` prints on stdout once it is ready for commands and its condition is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What happened.
    pub event: EventKind,
    /// The state as read back.
    #[serde(flatten)]
    pub status: Status,
}

/// What a running shaper tells unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Commands are answered and the condition asked for is in force.
    Ready,
}

/// State of a running shaper, read back from the link and from the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Process id of the shaper.
    pub pid: u32,
    /// Device whose outgoing packets are shaped.
    pub device: String,
    /// The shaper's own TUN device.
    pub tun: String,
    /// The condition that new packets meet in the link.
    pub condition: Condition,
    /// Packets that may be in the link at once.
    pub queue_limit: QueueLimit,
    /// What the link's random decisions follow from.
    pub seed: u64,
    /// Whether packets really take the way through the shaper.
    pub routing: RoutingStatus,
    /// Totals since the condition was set.
    pub counters: Counters,
    /// Packets since the condition was set that the kernel dropped before the shaper could read them: not part of the
    /// condition, so anything but 0 means that the host was too busy. A GSO packet of TCP segments counts as one.
    pub tun_drops: u64,
    /// Largest time between a packet's release time and its send since the condition was set, in microseconds. Excludes
    /// the time before the shaper read the packet from the TUN device.
    pub max_lateness_us: u64,
    /// Memory used by the packets in the link, in bytes.
    #[serde(default)]
    pub memory_used_bytes: u64,
    /// Limit of `memory_used_bytes`. Packets beyond it are dropped and counted as `dropped_memory`.
    #[serde(default)]
    pub memory_limit_bytes: u64,
    /// How the packet thread is scheduled, which decides how late packets get on a busy host.
    pub scheduling: ThreadScheduling,
    /// What is taken off the times of packets because the shaper's own way costs it.
    #[serde(default)]
    pub compensation: Compensation,
}

/// The way of packets through the shaper, as the kernel has it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingStatus {
    /// How much of it is there.
    pub state: RoutingState,
    /// The parts that are not there, in words; empty when the way is open.
    pub missing: Vec<String>,
    /// Additional rules and routes by which packets may bypass the shaper, in words; empty when the way is open.
    #[serde(default)]
    pub surplus: Vec<String>,
}

/// How much of the way through the shaper is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoutingState {
    /// All of it: packets are shaped.
    Active,
    /// Nothing of it: packets take the unshaped link.
    Inactive,
    /// A rule or route is missing or surplus: packets may bypass the shaper.
    Broken,
}

impl Status {
    /// Whether the link has exactly the condition `asked` and packets really take the way that it needs.
    pub fn has_in_force(&self, asked: &Condition) -> bool {
        let needed = if asked.is_baseline() { RoutingState::Inactive } else { RoutingState::Active };
        self.condition == *asked && self.routing.state == needed
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
    fn messages_survive_the_wire() {
        let ready = Event { event: EventKind::Ready, status: status(RoutingState::Active) };
        let line = serde_json::to_string(&ready).unwrap();
        assert!(line.starts_with(r#"{"event":"ready","#), "{line}");
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), ready);

        let request = r#"{"command":"set","condition":{"loss":"1%"},"seed":3}"#;
        let loss = Condition { loss: "1%".parse().unwrap(), ..Condition::BASELINE };
        assert_eq!(serde_json::from_str::<Request>(request).unwrap(), Request::Set { condition: loss, seed: Some(3) });
    }

    #[test]
    fn a_condition_is_in_force_only_on_an_open_path() {
        let asked = status(RoutingState::Active).condition;
        for (state, expected) in
            [(RoutingState::Active, true), (RoutingState::Inactive, false), (RoutingState::Broken, false)]
        {
            assert_eq!(status(state).has_in_force(&asked), expected, "{state:?}");
        }
        assert!(!status(RoutingState::Active).has_in_force(&Condition::BASELINE));
        assert!(!status(RoutingState::Inactive).has_in_force(&Condition::BASELINE));
        let bare = Status { condition: Condition::BASELINE, ..status(RoutingState::Inactive) };
        assert!(bare.has_in_force(&Condition::BASELINE));
    }
}
