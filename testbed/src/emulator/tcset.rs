//! The emulator `tcset`: the kernel's netem and HTB, configured by tcconfig's tcset in the server's node.
//!
//! tcset exits with 0 even if the kernel has no netem. The condition is therefore always read from the kernel, by `tc`.

mod readback;

use std::path::Path;

use anyhow::{Context, bail};
use async_trait::async_trait;
use model::{Condition, Delay, Loss};

use crate::backend::{DEVICE, NodeCommand, NodeHandle, last_lines};
use crate::emulator::{Emulator, EmulatorChoice, LinkCounters, ReadBack};
use readback::Qdisc;

/// Advice if tcset does not work.
const ADVICE: &str = "load it on the host with `modprobe sch_netem` if the kernel has it, or use --emulator shaper";

/// tcset in the server's node.
pub(super) struct TcsetEmulator {
    server: NodeHandle,
}

impl TcsetEmulator {
    /// Creates an emulator for this node.
    pub(super) fn new(server: NodeHandle) -> Self {
        Self { server }
    }
}

/// Checks whether tcset can impose the condition.
///
/// # Errors
/// Names the unsupported part.
pub(super) fn check_supported(condition: &Condition) -> anyhow::Result<()> {
    if let Some(limit) = condition.queue_limit {
        bail!("tcset cannot set a queue limit ({} packets): netem's is 1000", limit.packets());
    }
    Ok(())
}

/// Returns tcset's options for a condition other than the baseline.
pub(super) fn options(condition: &Condition) -> Vec<String> {
    let mut options = Vec::new();
    if condition.delay != Delay::ZERO {
        options.extend(["--delay".to_owned(), tc_time(condition.delay)]);
    }
    if condition.loss != Loss::NONE {
        options.extend(["--loss".to_owned(), condition.loss.to_string()]);
    }
    if let Some(rate) = condition.rate {
        // tcset's "bps" is bits per second, its prefixes are decimal.
        let bits = rate.bits_per_second();
        let text = if bits % 1_000 == 0 { format!("{}Kbps", bits / 1_000) } else { format!("{bits}bps") };
        options.extend(["--rate".to_owned(), text]);
    }
    options
}

/// Returns tc's arguments that add uniform jitter to the netem that tcset created: tcset supports only a normal
/// distribution. netem's `delay TIME JITTER` without a distribution is uniform over delay ± jitter, but reorders
/// packets. With a rate, netem counts a packet's delay from the departure of the previous packet (`netem_enqueue` in the
/// kernel's net/sched/sch_netem.c), so none is reordered; 10 Gbit/s add 1.2 µs per packet.
fn jitter_arguments(netem: &Qdisc, condition: &Condition) -> anyhow::Result<Vec<String>> {
    let parent = netem.parent.as_deref().context("tcset's netem has no parent class")?;
    let limit = netem.options.limit.context("`tc -j qdisc show` shows no limit of netem")?.to_string();
    let (delay, jitter) = (tc_time(condition.delay), tc_time(condition.jitter));
    let change = ["qdisc", "change", "dev", DEVICE, "parent", parent, "handle", &netem.handle, "netem"];
    let spread = ["limit", &limit, "delay", &delay, &jitter, "rate", "10gbit"];
    let loss = (condition.loss != Loss::NONE).then(|| ["loss".to_owned(), condition.loss.to_string()]);
    Ok(change.into_iter().chain(spread).map(str::to_owned).chain(loss.into_iter().flatten()).collect())
}

/// Removes what tcset created, all below one root qdisc. Faster than `tcdel`, which starts Python.
async fn clear(server: &NodeHandle) -> anyhow::Result<()> {
    let delete = NodeCommand::installed("tc", ["qdisc", "del", "dev", DEVICE, "root"]);
    // It fails if there is nothing to delete, so the remaining qdiscs decide.
    let output = server.exec(&delete).await?;
    let left = readback::read(server).await?;
    if left.kinds.iter().any(|kind| matches!(kind.as_str(), "htb" | "netem")) {
        bail!("`{delete}` exited with {} and left {}: {}", output.code, left.describe(), last_lines(&output.stderr, 2));
    }
    Ok(())
}

/// Checks that the kernel has netem, by `tc`: in milliseconds, while tcset takes a second.
async fn check_kernel(server: &NodeHandle) -> anyhow::Result<()> {
    let add = NodeCommand::installed("tc", ["qdisc", "add", "dev", DEVICE, "root", "netem", "delay", "10ms"]);
    let Ok(output) = server.exec(&add).await else {
        bail!("tc is missing in the server's node: install iproute2");
    };
    let found = readback::read(server).await?;
    clear(server).await?;
    if found.netem.is_none() {
        bail!("the kernel has no netem (output of `tc`: {}); {ADVICE}", last_lines(&output.stderr, 1));
    }
    Ok(())
}

#[async_trait(?Send)]
impl Emulator for TcsetEmulator {
    fn name(&self) -> &'static str {
        "tcset"
    }

    fn choice(&self) -> EmulatorChoice {
        EmulatorChoice::Tcset
    }

    fn treats_gso_as_one_packet(&self) -> bool {
        true
    }

    async fn prepare(&mut self, _logs: &Path) -> anyhow::Result<()> {
        check_kernel(&self.server).await?;
        let trial = Condition { delay: "10ms".parse()?, ..Condition::BASELINE };
        let set = NodeCommand::installed("tcset", [vec![DEVICE.to_owned()], options(&trial)].concat());
        let Ok(output) = self.server.exec(&set).await else {
            bail!("tcset is missing in the server's node: install tcconfig (pip install tcconfig)");
        };
        let found = readback::read(&self.server).await?;
        let works = found.agrees(&trial);
        clear(&self.server).await?;
        if !works {
            let printed = last_lines(&format!("{}\n{}", output.stdout, output.stderr), 2);
            bail!(
                "netem is not active after tcset (exit code {}, {}; output: {printed}); {ADVICE}",
                output.code,
                found.describe()
            );
        }
        Ok(())
    }

    fn check_supported(&self, condition: &Condition) -> anyhow::Result<()> {
        check_supported(condition)
    }

    async fn apply(&mut self, condition: &Condition, _seed: u64) -> anyhow::Result<()> {
        if condition.is_baseline() {
            return clear(&self.server).await;
        }
        let arguments = [vec![DEVICE.to_owned()], options(condition), vec!["--overwrite".to_owned()]].concat();
        self.server.run(&NodeCommand::installed("tcset", arguments)).await?;
        if condition.jitter != Delay::ZERO {
            // Without netem, the readback reports it.
            let Some(netem) = readback::read(&self.server).await?.netem else { return Ok(()) };
            self.server.run(&NodeCommand::installed("tc", jitter_arguments(&netem, condition)?)).await?;
        }
        Ok(())
    }

    async fn read_back(&self, requested: &Condition) -> anyhow::Result<ReadBack> {
        let found = readback::read(&self.server).await?;
        Ok(ReadBack { agrees: found.agrees(requested), text: found.describe() })
    }

    async fn counters(&self) -> anyhow::Result<Option<LinkCounters>> {
        let netem = readback::read(&self.server).await?.netem;
        Ok(netem.map(|netem| LinkCounters {
            sent: netem.packets,
            dropped: netem.drops,
            // netem counts segments sent but GSO packets dropped, and does not separate drops of a full queue: neither
            // can be compared with the requested loss.
            lost: None,
            queue_full: None,
            unintended_drops: 0,
            queued: netem.qlen,
            max_lateness_ms: None,
        }))
    }

    async fn shut_down(&mut self) -> anyhow::Result<()> {
        clear(&self.server).await
    }
}

/// Returns a delay in the syntax of tc and tcset, which have no minutes.
fn tc_time(delay: Delay) -> String {
    let nanoseconds = delay.as_duration().as_nanos();
    if nanoseconds.is_multiple_of(1_000_000) {
        format!("{}ms", nanoseconds / 1_000_000)
    } else {
        format!("{}us", nanoseconds as f64 / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::readback::tests::{CLASSES, QDISCS, condition};
    use super::*;

    #[test]
    fn jitter_is_added_by_tc_to_the_netem_that_tcset_created() {
        let netem = readback::parse(QDISCS, CLASSES).unwrap().netem.unwrap();
        let requested = condition(r#"{"delay":"50ms","jitter":"10ms","loss":"0.5%"}"#);
        assert_eq!(
            jitter_arguments(&netem, &requested).unwrap().join(" "),
            "qdisc change dev eth0 parent 1a1a:2 handle 20a8: netem limit 1000 delay 50ms 10ms rate 10gbit loss 0.5%"
        );
    }

    #[test]
    fn conditions_become_tcsets_options() {
        for (requested, expected) in [
            (r#"{"delay":"50ms"}"#, "--delay 50ms"),
            (r#"{"loss":"0.5%"}"#, "--loss 0.5%"),
            (r#"{"rate":"1.5Mbit"}"#, "--rate 1500Kbps"),
            (r#"{"rate":"9600bit"}"#, "--rate 9600bps"),
        ] {
            assert_eq!(options(&condition(requested)).join(" "), expected);
        }
    }
}
