//! The emulator `tcset`: the kernel's netem and HTB, set by tcconfig's tcset in the server's node.
//!
//! tcset exits 0 even where the kernel has no netem and nothing was set, so nothing here believes it: what is in force
//! is read from the kernel by `tc`.

use std::path::Path;

use anyhow::{Context, bail};
use async_trait::async_trait;
use serde::Deserialize;
use shaper::{Condition, Delay, Loss, Rate};

use super::{Emulator, EmulatorChoice, LinkCounters, ReadBack, on_server};
use crate::engine::{DEVICE, Engine, Node, NodeCommand, last_lines};

/// What to do when tcset does not work, for the user.
const ADVICE: &str = "load it on the host with `modprobe sch_netem` if the kernel has it, or use --emulator shaper";

/// tcset in the server's node.
pub(crate) struct TcsetEmulator;

/// A queueing discipline as `tc -j -s qdisc show` prints it, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Qdisc {
    kind: String,
    handle: String,
    #[serde(default)]
    options: Options,
    #[serde(default)]
    packets: u64,
    #[serde(default)]
    drops: u64,
    #[serde(default)]
    qlen: u64,
}

#[derive(Debug, Default, Deserialize)]
struct Options {
    limit: Option<u64>,
    delay: Option<DelayOptions>,
    #[serde(rename = "loss-random")]
    loss: Option<LossOptions>,
}

#[derive(Debug, Deserialize)]
struct DelayOptions {
    /// Seconds.
    delay: f64,
    /// Seconds.
    jitter: f64,
}

#[derive(Debug, Deserialize)]
struct LossOptions {
    /// Fraction.
    loss: f64,
}

/// What the kernel has in force.
#[derive(Debug)]
struct InForce {
    /// netem, if it is there.
    netem: Option<Qdisc>,
    /// The rate of the class that netem hangs below.
    rate: Option<Rate>,
    /// Kinds of all queueing disciplines, for people.
    kinds: Vec<String>,
}

async fn in_force(engine: &dyn Engine) -> anyhow::Result<InForce> {
    let qdiscs = NodeCommand::installed("tc", ["-j", "-s", "qdisc", "show", "dev", DEVICE]);
    let qdiscs = on_server(engine, qdiscs).await?.stdout;
    let classes = on_server(engine, NodeCommand::installed("tc", ["class", "show", "dev", DEVICE])).await?.stdout;
    parse(&qdiscs, &classes)
}

/// Reads what `tc -j -s qdisc show` and `tc class show` (which prints no JSON for HTB) print.
fn parse(qdiscs: &str, classes: &str) -> anyhow::Result<InForce> {
    let qdiscs: Vec<Qdisc> = serde_json::from_str(qdiscs.trim()).context("`tc -j qdisc show` printed no JSON")?;
    let kinds = qdiscs.iter().map(|qdisc| qdisc.kind.clone()).collect();
    let netem = qdiscs.into_iter().find(|qdisc| qdisc.kind == "netem");
    let rate = netem.as_ref().and_then(|netem| rate_above(&netem.handle, classes));
    Ok(InForce { netem, rate, kinds })
}

/// `class htb 1a1a:2 root leaf 2905: prio 0 rate 500Kbit ceil …` → 500 kbit/s for the handle `2905:`.
fn rate_above(handle: &str, classes: &str) -> Option<Rate> {
    let line = classes.lines().find(|line| line.contains(&format!("leaf {handle} ")))?;
    let mut words = line.split_whitespace().skip_while(|word| *word != "rate");
    words.nth(1)?.replace('K', "k").parse().ok()
}

/// tcset's options for a condition that is not the baseline.
pub(super) fn options(condition: &Condition) -> Vec<String> {
    let mut options = Vec::new();
    if condition.delay != Delay::ZERO {
        options.extend(["--delay".to_owned(), condition.delay.to_string()]);
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

/// Whether what is in force is the condition; within what tc's own printing rounds away.
fn agrees(in_force: &InForce, asked: &Condition) -> bool {
    let Some(netem) = &in_force.netem else { return asked.is_baseline() };
    let (delay, jitter) = netem.options.delay.as_ref().map_or((0.0, 0.0), |delay| (delay.delay, delay.jitter));
    let loss = netem.options.loss.as_ref().map_or(0.0, |loss| loss.loss);
    let same_rate = match asked.rate {
        Some(rate) => {
            in_force.rate.is_some_and(|got| close(got.bits_per_second() as f64, rate.bits_per_second() as f64))
        }
        // Without a rate tcset leaves the class at the device's own, 10 Gbit/s.
        None => in_force.rate.is_none_or(|got| got.bits_per_second() >= 1_000_000_000),
    };
    !asked.is_baseline()
        && close(delay, asked.delay.as_duration().as_secs_f64())
        && jitter == 0.0
        && close(loss, asked.loss.fraction())
        && same_rate
}

fn close(got: f64, asked: f64) -> bool {
    (got - asked).abs() <= asked.abs() * 0.001
}

fn describe(in_force: &InForce) -> String {
    let Some(netem) = &in_force.netem else {
        return format!("tc: no netem on {DEVICE}, only {}", in_force.kinds.join(", "));
    };
    let delay = netem.options.delay.as_ref().map(|delay| format!("delay {}ms", delay.delay * 1_000.0));
    let loss = netem.options.loss.as_ref().map(|loss| format!("loss {}%", loss.loss * 100.0));
    let rate = in_force.rate.map(|rate| format!("rate {rate}"));
    let limit = netem.options.limit.map(|limit| format!("limit {limit} packets"));
    let parts: Vec<String> = [delay, loss, rate, limit].into_iter().flatten().collect();
    format!("tc: netem {}", parts.join(", "))
}

/// Removes what tcset set, which all hangs below one root. `tcdel` would do the same, and start Python for it.
async fn clear(engine: &dyn Engine) -> anyhow::Result<()> {
    let delete = NodeCommand::installed("tc", ["qdisc", "del", "dev", DEVICE, "root"]);
    // It fails when there is nothing to delete, so what counts is what is left.
    let said = engine.exec(Node::Server, &delete).await?;
    let left = in_force(engine).await?;
    if left.kinds.iter().any(|kind| matches!(kind.as_str(), "htb" | "netem")) {
        bail!("`{delete}` exited {} and left {}: {}", said.code, describe(&left), last_lines(&said.stderr, 2));
    }
    Ok(())
}

/// Whether the kernel has netem at all, which `tc` tells in milliseconds and tcset in a second.
async fn check_kernel(engine: &dyn Engine) -> anyhow::Result<()> {
    let add = NodeCommand::installed("tc", ["qdisc", "add", "dev", DEVICE, "root", "netem", "delay", "10ms"]);
    let Ok(said) = engine.exec(Node::Server, &add).await else {
        bail!("there is no tc in the server's node: it comes with iproute2");
    };
    let found = in_force(engine).await?;
    clear(engine).await?;
    if found.netem.is_none() {
        bail!("the kernel has no netem (`tc` said: {}); {ADVICE}", last_lines(&said.stderr, 1));
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

    fn bundles_segments(&self) -> bool {
        true
    }

    async fn prepare(&mut self, engine: &dyn Engine, _logs: &Path) -> anyhow::Result<()> {
        check_kernel(engine).await?;
        let trial = Condition { delay: "10ms".parse()?, ..Condition::BASELINE };
        let set = NodeCommand::installed("tcset", [vec![DEVICE.to_owned()], options(&trial)].concat());
        let Ok(said) = engine.exec(Node::Server, &set).await else {
            bail!("there is no tcset in the server's node: it comes with tcconfig (pip install tcconfig)");
        };
        let found = in_force(engine).await?;
        let works = agrees(&found, &trial);
        clear(engine).await?;
        if !works {
            let words = last_lines(&format!("{}\n{}", said.stdout, said.stderr), 2);
            bail!(
                "the kernel did not take netem (tcset exited {}, {}; it said: {words}); {ADVICE}",
                said.code,
                describe(&found)
            );
        }
        Ok(())
    }

    fn can_express(&self, condition: &Condition) -> anyhow::Result<()> {
        if condition.jitter != Delay::ZERO {
            bail!("tcset spreads a delay normally, not evenly, so it can't express jitter {}", condition.jitter);
        }
        if let Some(limit) = condition.queue_limit {
            bail!("tcset can't set a queue limit ({} packets): netem's is 1000", limit.packets());
        }
        Ok(())
    }

    async fn apply(&mut self, engine: &dyn Engine, condition: &Condition, _seed: u64) -> anyhow::Result<()> {
        if condition.is_baseline() {
            return clear(engine).await;
        }
        let arguments = [vec![DEVICE.to_owned()], options(condition), vec!["--overwrite".to_owned()]].concat();
        on_server(engine, NodeCommand::installed("tcset", arguments)).await.map(drop)
    }

    async fn read_back(&self, engine: &dyn Engine, asked: &Condition) -> anyhow::Result<ReadBack> {
        let found = in_force(engine).await?;
        Ok(ReadBack { agrees: agrees(&found, asked), text: describe(&found) })
    }

    async fn counters(&self, engine: &dyn Engine) -> anyhow::Result<Option<LinkCounters>> {
        let netem = in_force(engine).await?.netem;
        Ok(netem.map(|netem| LinkCounters {
            sent: netem.packets,
            dropped: netem.drops,
            // netem counts segments when it sends and whole segmentation-offload packets when it drops, and a full
            // queue's drops with the others: nothing that could be compared with a loss.
            lost: None,
            queue_full: None,
            unasked: 0,
            queued: netem.qlen,
            max_lateness_ms: None,
        }))
    }

    async fn shut_down(&mut self, engine: &dyn Engine) -> anyhow::Result<()> {
        clear(engine).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What iproute2 6.1 printed after `tcset eth0 --delay 50ms --loss 0.5% --rate 1Mbps` on Linux 6.1.
    const QDISCS: &str = r#"[{"kind":"htb","handle":"1a1a:","root":true,"refcnt":2,"options":{"r2q":10,"default":"0x1"},
        "bytes":0,"packets":0,"drops":0},{"kind":"netem","handle":"20a8:","parent":"1a1a:2","options":{"limit":1000,
        "delay":{"delay":0.05,"jitter":0,"correlation":0},"loss-random":{"loss":0.005,"correlation":0},"ecn":false,
        "gap":0},"bytes":990,"packets":9,"drops":2,"qlen":1}]"#;
    const CLASSES: &str = "class htb 1a1a:1 root prio 0 rate 10Gbit ceil 10Gbit burst 0b cburst 0b \n\
        class htb 1a1a:2 root leaf 20a8: prio 0 rate 1Mbit ceil 1Mbit burst 1600b cburst 1600b \n";

    fn condition(json: &str) -> Condition {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_tc_prints_is_compared_with_what_was_asked() {
        let found = parse(QDISCS, CLASSES).unwrap();
        assert_eq!(describe(&found), "tc: netem delay 50ms, loss 0.5%, rate 1Mbit, limit 1000 packets");
        for (asked, expected) in [
            (r#"{"delay":"50ms","loss":"0.5%","rate":"1Mbit"}"#, true),
            (r#"{"delay":"50ms","loss":"0.5%"}"#, false),
            (r#"{"delay":"25ms","loss":"0.5%","rate":"1Mbit"}"#, false),
            (r#"{"delay":"50ms","loss":"1%","rate":"1Mbit"}"#, false),
            (r#"{"delay":"50ms","loss":"0.5%","rate":"500kbit"}"#, false),
            ("{}", false),
        ] {
            assert_eq!(agrees(&found, &condition(asked)), expected, "{asked}");
        }
        let netem = found.netem.unwrap();
        assert_eq!((netem.packets, netem.drops, netem.qlen), (9, 2, 1));
    }

    #[test]
    fn a_bare_htb_is_what_tcset_leaves_where_the_kernel_has_no_netem() {
        let found = parse(r#"[{"kind":"htb","handle":"1a1a:","root":true}]"#, "").unwrap();
        assert!(!agrees(&found, &condition(r#"{"delay":"10ms"}"#)));
        assert_eq!(describe(&found), "tc: no netem on eth0, only htb");
        assert!(agrees(&parse(r#"[{"kind":"noqueue","handle":"0:"}]"#, "").unwrap(), &Condition::BASELINE));
    }

    #[test]
    fn conditions_become_tcsets_options() {
        for (asked, expected) in [
            (r#"{"delay":"50ms"}"#, "--delay 50ms"),
            (r#"{"loss":"0.5%"}"#, "--loss 0.5%"),
            (r#"{"rate":"1.5Mbit"}"#, "--rate 1500Kbps"),
            (r#"{"rate":"9600bit"}"#, "--rate 9600bps"),
        ] {
            assert_eq!(options(&condition(asked)).join(" "), expected);
        }
    }
}
