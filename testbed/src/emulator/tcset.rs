//! The emulator `tcset`: the kernel's netem and HTB, set by tcconfig's tcset in the server's node.
//!
//! tcset exits 0 even where the kernel has no netem and nothing was set, so nothing here believes it: what is in force
//! is read from the kernel by `tc`.

mod readback;

use std::path::Path;

use anyhow::{Context, bail};
use async_trait::async_trait;
use model::{Condition, Delay, Loss};

use crate::backend::{Backend, DEVICE, Node, NodeCommand, last_lines};
use crate::emulator::{Emulator, EmulatorChoice, LinkCounters, ReadBack, on_server};
use readback::Qdisc;

/// What to do when tcset does not work, for the user.
const ADVICE: &str = "load it on the host with `modprobe sch_netem` if the kernel has it, or use --emulator shaper";

/// tcset in the server's node.
pub(crate) struct TcsetEmulator;

/// tcset's options for a condition that is not the baseline.
pub(super) fn options(condition: &Condition) -> Vec<String> {
    let mut options = Vec::new();
    if condition.delay != Delay::ZERO {
        options.extend(["--delay".to_owned(), tc_time(condition.delay)]);
    }
    if condition.loss != Loss::NONE {
        options.extend(["--loss".to_owned(), condition.loss.to_string()]);
    }
    if let Some(rate) = condition.rate {
        // tcset's "bps" are bits per second, in powers of ten.
        let bits = rate.bits_per_second();
        let text = if bits % 1_000 == 0 { format!("{}Kbps", bits / 1_000) } else { format!("{bits}bps") };
        options.extend(["--rate".to_owned(), text]);
    }
    options
}

/// tc's arguments that spread the delay of a netem which tcset has made, since tcset itself spreads only normally, and
/// netem lets packets overtake each other. netem's `delay TIME JITTER` without a distribution is even over delay ±
/// jitter. With a rate of its own netem counts a packet's delay from the departure of the packet before
/// (`netem_enqueue` in the kernel's net/sched/sch_netem.c), so none overtakes; 10 Gbit/s take 1.2 µs a packet.
fn jitter_arguments(netem: &Qdisc, condition: &Condition) -> anyhow::Result<Vec<String>> {
    let parent = netem.parent.as_deref().context("tcset's netem hangs below no class")?;
    let limit = netem.options.limit.context("`tc -j qdisc show` says no limit of netem")?.to_string();
    let (delay, jitter) = (tc_time(condition.delay), tc_time(condition.jitter));
    let change = ["qdisc", "change", "dev", DEVICE, "parent", parent, "handle", &netem.handle, "netem"];
    let spread = ["limit", &limit, "delay", &delay, &jitter, "rate", "10gbit"];
    let loss = (condition.loss != Loss::NONE).then(|| ["loss".to_owned(), condition.loss.to_string()]);
    Ok(change.into_iter().chain(spread).map(str::to_owned).chain(loss.into_iter().flatten()).collect())
}

/// Removes what tcset set, which all hangs below one root. `tcdel` would do the same, and start Python for it.
async fn clear(backend: &dyn Backend) -> anyhow::Result<()> {
    let delete = NodeCommand::installed("tc", ["qdisc", "del", "dev", DEVICE, "root"]);
    // It fails when there is nothing to delete, so what counts is what is left.
    let said = backend.exec(Node::Server, &delete).await?;
    let left = readback::read(backend).await?;
    if left.kinds.iter().any(|kind| matches!(kind.as_str(), "htb" | "netem")) {
        bail!("`{delete}` exited {} and left {}: {}", said.code, left.describe(), last_lines(&said.stderr, 2));
    }
    Ok(())
}

/// Checks whether the kernel has netem: by `tc` in milliseconds, while tcset takes a second.
async fn check_kernel(backend: &dyn Backend) -> anyhow::Result<()> {
    let add = NodeCommand::installed("tc", ["qdisc", "add", "dev", DEVICE, "root", "netem", "delay", "10ms"]);
    let Ok(said) = backend.exec(Node::Server, &add).await else {
        bail!("tc is missing in the server's node: install iproute2");
    };
    let found = readback::read(backend).await?;
    clear(backend).await?;
    if found.netem.is_none() {
        bail!("the kernel has no netem (output of `tc`: {}); {ADVICE}", last_lines(&said.stderr, 1));
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

    async fn prepare(&mut self, backend: &dyn Backend, _logs: &Path) -> anyhow::Result<()> {
        check_kernel(backend).await?;
        let trial = Condition { delay: "10ms".parse()?, ..Condition::BASELINE };
        let set = NodeCommand::installed("tcset", [vec![DEVICE.to_owned()], options(&trial)].concat());
        let Ok(said) = backend.exec(Node::Server, &set).await else {
            bail!("tcset is missing in the server's node: install tcconfig (pip install tcconfig)");
        };
        let found = readback::read(backend).await?;
        let works = found.agrees(&trial);
        clear(backend).await?;
        if !works {
            let words = last_lines(&format!("{}\n{}", said.stdout, said.stderr), 2);
            bail!(
                "netem is not active after tcset (exit code {}, {}; output: {words}); {ADVICE}",
                said.code,
                found.describe()
            );
        }
        Ok(())
    }

    fn check_supported(&self, condition: &Condition) -> anyhow::Result<()> {
        if let Some(limit) = condition.queue_limit {
            bail!("tcset can't set a queue limit ({} packets): netem's is 1000", limit.packets());
        }
        Ok(())
    }

    async fn apply(&mut self, backend: &dyn Backend, condition: &Condition, _seed: u64) -> anyhow::Result<()> {
        if condition.is_baseline() {
            return clear(backend).await;
        }
        let arguments = [vec![DEVICE.to_owned()], options(condition), vec!["--overwrite".to_owned()]].concat();
        on_server(backend, NodeCommand::installed("tcset", arguments)).await?;
        if condition.jitter != Delay::ZERO {
            // Where the kernel has no netem the readback says so.
            let Some(netem) = readback::read(backend).await?.netem else { return Ok(()) };
            on_server(backend, NodeCommand::installed("tc", jitter_arguments(&netem, condition)?)).await?;
        }
        Ok(())
    }

    async fn read_back(&self, backend: &dyn Backend, requested: &Condition) -> anyhow::Result<ReadBack> {
        let found = readback::read(backend).await?;
        Ok(ReadBack { agrees: found.agrees(requested), text: found.describe() })
    }

    async fn counters(&self, backend: &dyn Backend) -> anyhow::Result<Option<LinkCounters>> {
        let netem = readback::read(backend).await?.netem;
        Ok(netem.map(|netem| LinkCounters {
            sent: netem.packets,
            dropped: netem.drops,
            // netem counts segments when it sends and whole segmentation-offload packets when it drops, and a full
            // queue's drops with the others: nothing that could be compared with a loss.
            lost: None,
            queue_full: None,
            unintended_drops: 0,
            queued: netem.qlen,
            max_lateness_ms: None,
        }))
    }

    async fn shut_down(&mut self, backend: &dyn Backend) -> anyhow::Result<()> {
        clear(backend).await
    }
}

/// Returns a delay as tc and tcset read it: they know no minutes.
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
    fn a_jitter_is_set_by_tc_in_the_netem_that_tcset_made() {
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
