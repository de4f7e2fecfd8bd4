//! What a workload and the driver say to each other over stdio: one JSON object a line from the client, one word a line
//! to the client.
//!
//! The client says `ready` when everything that does not count is done, and starts the measured time at the line `go`.
//! End of input, SIGTERM and SIGINT mean stop now.

use serde::{Deserialize, Serialize};

/// The line that starts the measured time.
pub const GO: &str = "go";

/// What the client says, one a line: `{"event":"progress","operations":120,"errors":0}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Accounts are made and the CSV is open; waiting for [`GO`].
    Ready,
    /// Twice a second while measuring.
    Progress {
        /// Operations that ended so far: rows of the CSV.
        operations: u64,
        /// How many of them ended other than `ok`.
        errors: u64,
    },
    /// Just before the last word.
    Cpu {
        /// CPU time that the program used since it was ready, milliseconds.
        used_ms: u64,
        /// Threads that its virtual users share: more than a core each it can't use.
        threads: u32,
    },
    /// The CSV is complete and closed; the client exits.
    Done {
        /// Operations that ended: rows of the CSV.
        operations: u64,
        /// How many of them ended other than `ok`.
        errors: u64,
        /// Operations that were still in flight when the client had to stop. They are neither rows nor errors, since
        /// it is unknown how they would have ended. In an open loop also those that arrived and never started.
        unfinished: u64,
        /// Operations of the warm-up: rows, among `operations`, that belong to no statistics.
        #[serde(default)]
        warm_up: u64,
        /// How late operations started that arrive by an arrival schedule (open loop).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        arrivals: Option<ArrivalReport>,
    },
}

/// How late operations of an open loop started although a virtual user was free, microseconds: the pacer's own error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArrivalReport {
    /// Operations that started by the arrival schedule in the measured time with a virtual user free.
    pub on_schedule: u64,
    /// Operations of the measured time that found no virtual user free and had to wait, if they started at all; their
    /// waiting is in `wait_ms` of the samples and not here.
    pub queued: u64,
    /// The most operations that waited at once, those of the warm-up included. When it grows with the time, the
    /// virtual users can't keep up.
    pub max_backlog: u64,
    /// Median lateness.
    pub p50_us: u64,
    /// 99th percentile of the lateness.
    pub p99_us: u64,
    /// The greatest lateness.
    pub max_us: u64,
    /// How the threads that start operations get a core.
    pub scheduling: ThreadScheduling,
}

/// A thread's scheduling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThreadScheduling {
    /// It gets a core whenever it has work (SCHED_FIFO).
    Realtime,
    /// It shares the cores with everything else: on a busy host operations start late.
    Normal,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_lines_of_json_and_come_back() {
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
    fn the_end_of_an_open_loop_tells_how_its_timetable_was_kept() {
        let scheduling = ThreadScheduling::Realtime;
        let arrivals =
            ArrivalReport { on_schedule: 5, queued: 3, max_backlog: 2, p50_us: 40, p99_us: 90, max_us: 91, scheduling };
        let event = Event::Done { operations: 9, errors: 0, unfinished: 0, warm_up: 1, arrivals: Some(arrivals) };
        let line = serde_json::to_string(&event).unwrap();
        assert!(line.ends_with(r#""p50_us":40,"p99_us":90,"max_us":91,"scheduling":"realtime"}}"#), "{line}");
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
    }
}
