//! Counters of everything the server does, for `--metrics-listen`. Counting costs two additions per request.

mod histogram;
pub(crate) mod http;
mod text;

use std::array;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use protocol::request::Command;
use protocol::response::ServerTiming;
use protocol::{ErrorCode, Port};

use histogram::Histogram;
pub(crate) use text::{Gauges, exposition};

/// Upper bounds of the buckets of server times, µs.
const SERVER_US: [u64; 16] = [
    20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 5_000_000,
];

/// Upper bounds of the buckets of jobs per transaction.
const COMMIT_JOBS: [u64; 8] = [1, 2, 5, 10, 20, 50, 100, 200];

/// Counters of one server.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// By command; the last one is for requests without a valid command.
    commands: [CommandMetrics; Command::ALL.len() + 1],
    commit_jobs: Histogram<{ COMMIT_JOBS.len() }>,
    /// By port.
    connections: [ConnectionMetrics; 2],
    tcp_retransmits: AtomicU64,
}

/// Counters of one command. It has its own cache lines, because several threads write them.
#[derive(Debug)]
#[repr(align(128))]
struct CommandMetrics {
    /// Of all responses.
    server_us: Histogram<{ SERVER_US.len() }>,
    /// By error code.
    errors: [AtomicU64; ErrorCode::ALL.len()],
}

/// Counters of the connections of one port.
#[derive(Debug, Default)]
struct ConnectionMetrics {
    open: AtomicI64,
    accepted: AtomicU64,
    rejected: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            commands: array::from_fn(|_| CommandMetrics {
                server_us: Histogram::new(&SERVER_US),
                errors: array::from_fn(|_| AtomicU64::new(0)),
            }),
            commit_jobs: Histogram::new(&COMMIT_JOBS),
            connections: Default::default(),
            tcp_retransmits: AtomicU64::new(0),
        }
    }
}

impl Metrics {
    /// Counts a response; `command` is `None` for a request without a valid command.
    pub(crate) fn responded(&self, command: Option<Command>, error: Option<ErrorCode>, timing: ServerTiming) {
        let index = command.map_or(Command::ALL.len(), |command| command as usize);
        let metrics = &self.commands[index];
        metrics.server_us.add(timing.server_us);
        if let Some(code) = error {
            metrics.errors[code as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a transaction of `jobs` jobs.
    pub(crate) fn committed(&self, jobs: usize) {
        self.commit_jobs.add(jobs as u64);
    }

    /// Counts an accepted connection.
    pub(crate) fn connection_opened(&self, port: Port) {
        let connections = &self.connections[port as usize];
        connections.accepted.fetch_add(1, Ordering::Relaxed);
        connections.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the end of an accepted connection, and the segments that its server retransmitted.
    pub(crate) fn connection_closed(&self, port: Port, retransmits: Option<u32>) {
        self.connections[port as usize].open.fetch_sub(1, Ordering::Relaxed);
        self.tcp_retransmits.fetch_add(retransmits.unwrap_or(0).into(), Ordering::Relaxed);
    }

    /// Counts a connection beyond a limit.
    pub(crate) fn connection_rejected(&self, port: Port) {
        self.connections[port as usize].rejected.fetch_add(1, Ordering::Relaxed);
    }
}
