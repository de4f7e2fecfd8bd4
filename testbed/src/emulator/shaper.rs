//! The emulator `shaper`: a daemon in the server's node, controlled by its own commands there.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use model::Condition;
use shaper::control_protocol::{Event, Status};

use crate::backend::node_process::NodeProcess;
use crate::backend::{DEVICE, NodeCommand, NodeHandle, log_tail};
use crate::emulator::{Emulator, EmulatorChoice, LinkCounters, ReadBack};
use crate::program::Program;

/// Timeout of the daemon's start and of its stop.
const DAEMON_TIMEOUT: Duration = Duration::from_secs(10);

/// The shaper in the server's node.
pub(super) struct ShaperEmulator {
    server: NodeHandle,
    /// The daemon, while it runs.
    daemon: Option<NodeProcess>,
}

impl ShaperEmulator {
    /// Creates an emulator for this node.
    pub(super) fn new(server: NodeHandle) -> Self {
        Self { server, daemon: None }
    }

    async fn status(&self) -> anyhow::Result<Status> {
        let shown = self.server.run(&NodeCommand::program(Program::Shaper, ["show"])).await?;
        serde_json::from_str(&shown.stdout).context("invalid status printed by `shaper show`")
    }
}

/// Returns the options of `shaper set` for a condition.
pub(super) fn options(condition: &Condition) -> Vec<String> {
    let Condition { delay, jitter, loss, rate, queue_limit } = condition;
    let mut options = vec![format!("--delay={delay}"), format!("--jitter={jitter}"), format!("--loss={loss}")];
    options.extend(rate.map(|rate| format!("--rate={rate}")));
    options.extend(queue_limit.map(|limit| format!("--queue-limit={}", limit.packets())));
    options
}

/// Converts the shaper's counters.
fn link_counters(status: &Status) -> LinkCounters {
    let counters = status.counters;
    let unintended_drops = status.tun_drops + counters.send_errors + counters.dropped_memory;
    LinkCounters {
        sent: counters.sent,
        dropped: counters.dropped_loss + counters.dropped_queue + unintended_drops,
        lost: Some(counters.dropped_loss),
        queue_full: Some(counters.dropped_queue),
        unintended_drops,
        queued: counters.queued,
        max_lateness_ms: Some(status.max_lateness_us as f64 / 1_000.0),
    }
}

#[async_trait(?Send)]
impl Emulator for ShaperEmulator {
    fn name(&self) -> &'static str {
        "shaper"
    }

    fn choice(&self) -> EmulatorChoice {
        EmulatorChoice::Shaper
    }

    async fn prepare(&mut self, logs: &Path) -> anyhow::Result<()> {
        let run = NodeCommand::program(Program::Shaper, ["run", "--device", DEVICE, "--exit-on-stdin-eof"]);
        let log = logs.join("shaper.log");
        let mut daemon = self.server.spawn(&run, &log).await?;
        let ready: anyhow::Result<Event> = daemon.first_event(DAEMON_TIMEOUT).await;
        ready.with_context(|| log_tail(&log))?;
        self.daemon = Some(daemon);
        Ok(())
    }

    fn check_supported(&self, _condition: &Condition) -> anyhow::Result<()> {
        Ok(())
    }

    async fn apply(&mut self, condition: &Condition, seed: u64) -> anyhow::Result<()> {
        let mut arguments = vec!["set".to_owned(), format!("--seed={seed}")];
        arguments.extend(options(condition));
        self.server.run(&NodeCommand::program(Program::Shaper, arguments)).await.map(drop)
    }

    async fn read_back(&self, requested: &Condition) -> anyhow::Result<ReadBack> {
        let status = self.status().await?;
        let list = |name: &str, parts: &[String]| match parts {
            [] => String::new(),
            parts => format!(", {name}: {}", parts.join("; ")),
        };
        let missing = list("missing", &status.routing.missing) + &list("surplus", &status.routing.surplus);
        let elsewhere = if status.device == DEVICE { String::new() } else { format!(" on {}", status.device) };
        let text = format!("shaper: {}{elsewhere}, routing {:?}{missing}", status.condition, status.routing.state);
        let agrees = status.has_active(requested) && status.device == DEVICE;
        Ok(ReadBack { agrees, text: text.to_lowercase() })
    }

    async fn counters(&self) -> anyhow::Result<Option<LinkCounters>> {
        let status = self.status().await?;
        Ok((!status.condition.is_baseline()).then(|| link_counters(&status)))
    }

    async fn shut_down(&mut self) -> anyhow::Result<()> {
        let Some(daemon) = self.daemon.take() else { return Ok(()) };
        daemon.stop(DAEMON_TIMEOUT).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_condition_becomes_an_option() {
        let condition: Condition =
            serde_json::from_str(r#"{"delay":"50ms","jitter":"5ms","loss":"1%","rate":"1Mbit","queue_limit":"7"}"#)
                .unwrap();
        let expected = ["--delay=50ms", "--jitter=5ms", "--loss=1%", "--rate=1Mbit", "--queue-limit=7"];
        assert_eq!(options(&condition), expected);
        assert_eq!(options(&Condition::BASELINE), ["--delay=0", "--jitter=0", "--loss=0%"]);
    }

    #[test]
    fn every_drop_that_no_condition_requests_is_unintended() {
        let status = r#"{"pid":1,"device":"eth0","tun":"shaper0","condition":{"delay":"50ms"},"queue_limit":"1000","seed":1,
            "routing":{"state":"active","missing":[]},"tun_drops":1,"max_lateness_us":1500,"scheduling":"realtime",
            "counters":{"packets":96,"bytes":0,"sent":40,"send_errors":2,"dropped_loss":8,"dropped_queue":16,
            "dropped_memory":4,"queued":26}}"#;
        let counters = link_counters(&serde_json::from_str(status).unwrap());
        assert_eq!((counters.unintended_drops, counters.dropped, counters.queued), (1 + 2 + 4, 7 + 8 + 16, 26));
    }
}
