//! State of the queueing disciplines on the node's interface, read from `tc`.

use anyhow::Context;
use model::{Condition, Delay, Rate};
use serde::Deserialize;

use crate::backend::{DEVICE, NodeCommand, NodeHandle};

/// Queueing discipline, from `tc -j -s qdisc show`.
#[derive(Debug, Deserialize)]
pub(super) struct Qdisc {
    pub(super) kind: String,
    pub(super) handle: String,
    pub(super) parent: Option<String>,
    #[serde(default)]
    pub(super) options: Options,
    #[serde(default)]
    pub(super) packets: u64,
    #[serde(default)]
    pub(super) drops: u64,
    #[serde(default)]
    pub(super) qlen: u64,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Options {
    pub(super) limit: Option<u64>,
    delay: Option<DelayOptions>,
    #[serde(rename = "loss-random")]
    loss: Option<LossOptions>,
    /// netem's own rate, which prevents reordering.
    rate: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct DelayOptions {
    /// Seconds.
    delay: f64,
    /// Seconds.
    jitter: f64,
}

#[derive(Debug, Deserialize)]
pub(super) struct LossOptions {
    /// Fraction.
    loss: f64,
}

/// State of the interface.
#[derive(Debug)]
pub(super) struct LinkState {
    /// netem, if present.
    pub(super) netem: Option<Qdisc>,
    /// Rate of netem's parent class.
    rate: Option<Rate>,
    /// Kinds of all queueing disciplines.
    pub(super) kinds: Vec<String>,
}

/// Reads the state from `tc`.
///
/// # Errors
/// When `tc` is missing or fails, or its output is invalid.
pub(super) async fn read(server: &NodeHandle) -> anyhow::Result<LinkState> {
    let qdiscs = NodeCommand::installed("tc", ["-j", "-s", "qdisc", "show", "dev", DEVICE]);
    let qdiscs = server.run(&qdiscs).await?.stdout;
    let classes = server.run(&NodeCommand::installed("tc", ["class", "show", "dev", DEVICE])).await?.stdout;
    parse(&qdiscs, &classes)
}

/// Parses the output of `tc -j -s qdisc show` and of `tc class show`, which prints no JSON for HTB.
pub(super) fn parse(qdiscs: &str, classes: &str) -> anyhow::Result<LinkState> {
    let qdiscs: Vec<Qdisc> = serde_json::from_str(qdiscs.trim()).context("`tc -j qdisc show` printed no JSON")?;
    let kinds = qdiscs.iter().map(|qdisc| qdisc.kind.clone()).collect();
    let netem = qdiscs.into_iter().find(|qdisc| qdisc.kind == "netem");
    let rate = netem.as_ref().and_then(|netem| rate_above(&netem.handle, classes));
    Ok(LinkState { netem, rate, kinds })
}

/// Returns the rate of the class above netem: `class htb 1a1a:2 root leaf 2905: prio 0 rate 500Kbit ceil …` → 500 kbit/s for the handle `2905:`.
fn rate_above(handle: &str, classes: &str) -> Option<Rate> {
    let line = classes.lines().find(|line| line.contains(&format!("leaf {handle} ")))?;
    let mut words = line.split_whitespace().skip_while(|word| *word != "rate");
    words.nth(1)?.replace('K', "k").parse().ok()
}

impl LinkState {
    /// Returns whether the state equals the condition, except for the rounding in tc's output.
    pub(super) fn agrees(&self, requested: &Condition) -> bool {
        let Some(netem) = &self.netem else { return requested.is_baseline() };
        let (delay, jitter) = netem.options.delay.as_ref().map_or((0.0, 0.0), |delay| (delay.delay, delay.jitter));
        let loss = netem.options.loss.as_ref().map_or(0.0, |loss| loss.loss);
        let same_rate = match requested.rate {
            Some(rate) => {
                self.rate.is_some_and(|got| close(got.bits_per_second() as f64, rate.bits_per_second() as f64))
            }
            // Without a rate, tcset sets the class to the device's rate, 10 Gbit/s.
            None => self.rate.is_none_or(|got| got.bits_per_second() >= 1_000_000_000),
        };
        !requested.is_baseline()
            && close(delay, requested.delay.as_duration().as_secs_f64())
            && close(jitter, requested.jitter.as_duration().as_secs_f64())
            && netem.options.rate.is_some() == (requested.jitter != Delay::ZERO)
            && close(loss, requested.loss.fraction())
            && same_rate
    }

    /// Returns a description in one line.
    pub(super) fn describe(&self) -> String {
        let Some(netem) = &self.netem else {
            return format!("tc: no netem on {DEVICE}, only {}", self.kinds.join(", "));
        };
        let delay = netem.options.delay.as_ref().map(|delay| {
            let jitter = if delay.jitter > 0.0 { format!(" ± {}ms", delay.jitter * 1_000.0) } else { String::new() };
            format!("delay {}ms{jitter}", delay.delay * 1_000.0)
        });
        let loss = netem.options.loss.as_ref().map(|loss| format!("loss {}%", loss.loss * 100.0));
        let rate = self.rate.map(|rate| format!("rate {rate}"));
        let limit = netem.options.limit.map(|limit| format!("limit {limit} packets"));
        let parts: Vec<String> = [delay, loss, rate, limit].into_iter().flatten().collect();
        format!("tc: netem {}", parts.join(", "))
    }
}

fn close(got: f64, requested: f64) -> bool {
    (got - requested).abs() <= requested.abs() * 0.001
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Output of iproute2 6.1 after `tcset eth0 --delay 50ms --loss 0.5% --rate 1Mbps` on Linux 6.1.
    pub(in crate::emulator::tcset) const QDISCS: &str = r#"[{"kind":"htb","handle":"1a1a:","root":true,"refcnt":2,"options":{"r2q":10,"default":"0x1"},
        "bytes":0,"packets":0,"drops":0},{"kind":"netem","handle":"20a8:","parent":"1a1a:2","options":{"limit":1000,
        "delay":{"delay":0.05,"jitter":0,"correlation":0},"loss-random":{"loss":0.005,"correlation":0},"ecn":false,
        "gap":0},"bytes":990,"packets":9,"drops":2,"qlen":1}]"#;
    pub(in crate::emulator::tcset) const CLASSES: &str = "class htb 1a1a:1 root prio 0 rate 10Gbit ceil 10Gbit burst 0b cburst 0b \n\
        class htb 1a1a:2 root leaf 20a8: prio 0 rate 1Mbit ceil 1Mbit burst 1600b cburst 1600b \n";

    pub(in crate::emulator::tcset) fn condition(json: &str) -> Condition {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_output_of_tc_is_compared_with_the_requested_condition() {
        let found = parse(QDISCS, CLASSES).unwrap();
        assert_eq!(found.describe(), "tc: netem delay 50ms, loss 0.5%, rate 1Mbit, limit 1000 packets");
        for (requested, expected) in [
            (r#"{"delay":"50ms","loss":"0.5%","rate":"1Mbit"}"#, true),
            (r#"{"delay":"50ms","loss":"0.5%"}"#, false),
            (r#"{"delay":"25ms","loss":"0.5%","rate":"1Mbit"}"#, false),
            (r#"{"delay":"50ms","loss":"1%","rate":"1Mbit"}"#, false),
            (r#"{"delay":"50ms","loss":"0.5%","rate":"500kbit"}"#, false),
            ("{}", false),
        ] {
            assert_eq!(found.agrees(&condition(requested)), expected, "{requested}");
        }
        let netem = found.netem.unwrap();
        assert_eq!((netem.packets, netem.drops, netem.qlen), (9, 2, 1));
    }

    #[test]
    fn jitter_agrees_only_if_packets_are_not_reordered() {
        let spread = QDISCS.replace(r#""jitter":0"#, r#""jitter":0.01"#);
        let in_order = spread.replace(r#""ecn""#, r#""rate":{"rate":1250000000},"ecn""#);
        let requested = condition(r#"{"delay":"50ms","jitter":"10ms","loss":"0.5%","rate":"1Mbit"}"#);
        assert!(parse(&in_order, CLASSES).unwrap().agrees(&requested));
        assert!(!parse(&spread, CLASSES).unwrap().agrees(&requested), "packets are reordered");
        assert!(!parse(&in_order, CLASSES).unwrap().agrees(&Condition { jitter: Delay::ZERO, ..requested }));
        assert!(parse(&in_order, CLASSES).unwrap().describe().contains("delay 50ms ± 10ms"));
    }

    #[test]
    fn an_htb_without_netem_is_not_a_condition() {
        let found = parse(r#"[{"kind":"htb","handle":"1a1a:","root":true}]"#, "").unwrap();
        assert!(!found.agrees(&condition(r#"{"delay":"10ms"}"#)));
        assert_eq!(found.describe(), "tc: no netem on eth0, only htb");
        assert!(parse(r#"[{"kind":"noqueue","handle":"0:"}]"#, "").unwrap().agrees(&Condition::BASELINE));
    }
}
