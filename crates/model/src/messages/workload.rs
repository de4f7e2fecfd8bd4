//! Messages between a client's workload and the driver: events on the client's stdout, the start signal on its stdin.
//!
//! The client prints `ready` after its preparation, and starts the workload at the line `go`. It stops immediately when
//! stdin closes, and at SIGTERM and SIGINT.

use serde::{Deserialize, Serialize};

/// Start signal.
pub const GO: &str = "go";

/// Event of a client, one per line: `{"event":"progress","operations":120,"errors":0}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Accounts and CSV are prepared; the client waits for [`GO`].
    Ready,
    /// Printed twice per second during the workload.
    Progress {
        /// Operations that have ended; each has a row in the CSV.
        operations: u64,
        /// Operations with an outcome other than `ok`.
        errors: u64,
    },
    /// Printed immediately before `done`.
    Cpu {
        /// CPU time of the program since `ready`, milliseconds.
        used_ms: u64,
        /// Number of threads that run virtual users: the maximum number of CPUs that the program can use.
        threads: u32,
    },
    /// The CSV is complete, and the client exits.
    Done {
        /// Operations that ended; each has a row in the CSV.
        operations: u64,
        /// Operations with an outcome other than `ok`.
        errors: u64,
        /// Operations in flight at the end, and queued operations that never started. They are neither rows nor errors,
        /// because their outcome is unknown.
        unfinished: u64,
        /// Operations of the warm-up, included in `operations` but excluded from statistics.
        #[serde(default)]
        warm_up: u64,
        /// Start lateness and queue of an open loop.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        arrivals: Option<ArrivalReport>,
    },
}

/// Start lateness and queue of an open loop, in the measurement window unless stated otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArrivalReport {
    /// Operations that found an idle virtual user; start lateness is theirs.
    pub on_schedule: u64,
    /// Operations that were queued, including those that never started. Their wait is `wait_ms` of their samples, not
    /// start lateness.
    pub queued: u64,
    /// Maximum number of queued operations, including the warm-up. If it grows with the duration, there are too few
    /// virtual users.
    pub max_backlog: u64,
    /// Median start lateness, microseconds.
    pub p50_us: u64,
    /// 99th percentile of the start lateness, microseconds.
    pub p99_us: u64,
    /// Maximum start lateness, microseconds.
    pub max_us: u64,
    /// Scheduling of the threads that start operations.
    pub scheduling: ThreadScheduling,
}

/// Scheduling of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThreadScheduling {
    /// SCHED_FIFO: it preempts all normal threads.
    Realtime,
    /// SCHED_OTHER: on a busy host, operations start late.
    Normal,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_round_trip_as_lines_of_json() {
        for (event, line) in [
            (Event::Ready, r#"{"event":"ready"}"#),
            (Event::Cpu { used_ms: 12, threads: 1 }, r#"{"event":"cpu","used_ms":12,"threads":1}"#),
            (Event::Progress { operations: 3, errors: 1 }, r#"{"event":"progress","operations":3,"errors":1}"#),
            (
                Event::Done { operations: 9, errors: 0, unfinished: 2, warm_up: 4, arrivals: None },
                r#"{"event":"done","operations":9,"errors":0,"unfinished":2,"warm_up":4}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&event).unwrap(), line);
            assert_eq!(serde_json::from_str::<Event>(line).unwrap(), event);
        }
    }

    #[test]
    fn the_last_event_of_an_open_loop_contains_the_arrival_report() {
        let scheduling = ThreadScheduling::Realtime;
        let arrivals =
            ArrivalReport { on_schedule: 5, queued: 3, max_backlog: 2, p50_us: 40, p99_us: 90, max_us: 91, scheduling };
        let event = Event::Done { operations: 9, errors: 0, unfinished: 0, warm_up: 1, arrivals: Some(arrivals) };
        let line = serde_json::to_string(&event).unwrap();
        assert!(line.ends_with(r#""p50_us":40,"p99_us":90,"max_us":91,"scheduling":"realtime"}}"#), "{line}");
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
    }
}
