//! Metrics as Prometheus text.

use std::fmt;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use protocol::request::Command;
use protocol::{ErrorCode, Port};

use crate::metrics::Metrics;

/// Microseconds in a second.
const US_PER_S: f64 = 1e6;

/// Values at the time of a scrape.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gauges {
    /// Jobs that wait, by queue.
    pub(crate) queues: [(&'static str, usize); 3],
    /// Shared part of the buffers' budget in use, bytes.
    pub(crate) buffer_bytes: usize,
}

/// Returns all metrics as text.
pub(crate) fn exposition(metrics: &Metrics, gauges: Gauges) -> String {
    let mut registry = Registry::with_prefix("shop");
    registry.register_collector(Box::new(Snapshot::new(metrics, gauges)));
    let mut text = String::new();
    // Writing to memory cannot fail.
    let _ = prometheus_text::encode(&mut text, &registry);
    text
}

/// Copy of all metrics: the library wants to own what it encodes.
#[derive(Debug)]
struct Snapshot {
    commands: Vec<CommandSnapshot>,
    commit_jobs: (f64, u64, Vec<(f64, u64)>),
    /// Port, open, accepted and rejected connections.
    connections: [(&'static str, i64, u64, u64); 2],
    tcp_retransmits: u64,
    gauges: Gauges,
}

#[derive(Debug)]
struct CommandSnapshot {
    name: &'static str,
    server_s: (f64, u64, Vec<(f64, u64)>),
    /// Outcomes that occurred, with their number.
    outcomes: Vec<(&'static str, u64)>,
}

impl Snapshot {
    fn new(metrics: &Metrics, gauges: Gauges) -> Self {
        let names = Command::ALL.iter().map(|command| command.name()).chain(["none"]);
        let commands = metrics.commands.iter().zip(names).map(|(command, name)| {
            let server_s = command.server_us.snapshot(US_PER_S);
            let errors = ErrorCode::ALL.iter().zip(&command.errors);
            let errors = errors.map(|(code, count)| (code.name(), count.load(Ordering::Relaxed)));
            let mut outcomes: Vec<_> = errors.filter(|(_, count)| *count > 0).collect();
            let failed: u64 = outcomes.iter().map(|(_, count)| count).sum();
            outcomes.insert(0, ("ok", server_s.1.saturating_sub(failed)));
            CommandSnapshot { name, server_s, outcomes }
        });
        let connections = [Port::Accounts, Port::Shop].map(|port| {
            let connections = &metrics.connections[port as usize];
            let (accepted, rejected) = (&connections.accepted, &connections.rejected);
            let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
            (port.name(), connections.open.load(Ordering::Relaxed), load(accepted), load(rejected))
        });
        Self {
            commands: commands.collect(),
            commit_jobs: metrics.commit_jobs.snapshot(1.0),
            connections,
            tcp_retransmits: metrics.tcp_retransmits.load(Ordering::Relaxed),
            gauges,
        }
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Responses by command and outcome: ok, or the error's code";
        let mut family = encoder.encode_descriptor("operations", help, None, MetricType::Counter)?;
        for CommandSnapshot { name, outcomes, .. } in &self.commands {
            for (outcome, count) in outcomes {
                counter(&mut family.encode_family(&[("command", *name), ("outcome", *outcome)])?, *count)?;
            }
        }
        let help = "Server time of all responses, in seconds";
        let mut family = encoder.encode_descriptor("server_time_seconds", help, None, MetricType::Histogram)?;
        for CommandSnapshot { name, server_s, .. } in &self.commands {
            histogram(&mut family.encode_family(&[("command", *name)])?, server_s)?;
        }
        let help = "Writing requests per transaction";
        let mut family = encoder.encode_descriptor("commit_jobs", help, None, MetricType::Histogram)?;
        histogram(&mut family, &self.commit_jobs)?;
        let help = "Requests that wait for a thread, by queue";
        let mut family = encoder.encode_descriptor("queue_length", help, None, MetricType::Gauge)?;
        for (queue, length) in self.gauges.queues {
            family.encode_family(&[("queue", queue)])?.encode_gauge(&(length as u64))?;
        }
        let help = "Open connections by port";
        let mut family = encoder.encode_descriptor("connections", help, None, MetricType::Gauge)?;
        for (port, open, ..) in self.connections {
            family.encode_family(&[("port", port)])?.encode_gauge(&open)?;
        }
        let help = "Connections accepted by port, also those that were rejected with a response";
        let mut family = encoder.encode_descriptor("connections_accepted", help, None, MetricType::Counter)?;
        for (port, _, accepted, _) in self.connections {
            counter(&mut family.encode_family(&[("port", port)])?, accepted)?;
        }
        let help = "Connections rejected by port, beyond a limit";
        let mut family = encoder.encode_descriptor("connections_rejected", help, None, MetricType::Counter)?;
        for (port, .., rejected) in self.connections {
            counter(&mut family.encode_family(&[("port", port)])?, rejected)?;
        }
        let help = "Shared part of the buffers' budget in use, in bytes";
        let mut family = encoder.encode_descriptor("buffer_bytes", help, None, MetricType::Gauge)?;
        family.encode_gauge(&(self.gauges.buffer_bytes as u64))?;
        let help = "Segments that the server retransmitted on connections that have ended";
        let mut family = encoder.encode_descriptor("tcp_retransmits", help, None, MetricType::Counter)?;
        counter(&mut family, self.tcp_retransmits)
    }
}

fn counter(encoder: &mut MetricEncoder<'_>, count: u64) -> fmt::Result {
    encoder.encode_counter::<NoLabelSet, _, u64>(&count, None)
}

fn histogram(encoder: &mut MetricEncoder<'_>, (sum, count, buckets): &(f64, u64, Vec<(f64, u64)>)) -> fmt::Result {
    encoder.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)
}
