//! Manual emulation: an operator sets each condition on the server's host, by the commands that the run prints. What is
//! in force is not read back; the probe alone speaks for it.

use std::path::Path;

use anyhow::{Context, bail};
use async_trait::async_trait;
use model::{Condition, Delay};
use tokio::io::{AsyncBufReadExt, BufReader, Stdin};
use tokio_util::sync::CancellationToken;

use crate::backend::{Backend, DEVICE};
use crate::emulator::{Emulator, EmulatorChoice, LinkCounters, ReadBack, shaper as shaper_emulator, tcset};
use crate::output::{prompt, say};

/// An operator who sets conditions.
pub(crate) struct ManualEmulator {
    /// The server's host, as the user named it.
    host: String,
    /// Where Enter comes from.
    answers: BufReader<Stdin>,
    /// Ctrl-C.
    stop: CancellationToken,
    /// What was asked for last and is taken to be in force.
    in_force: Option<Condition>,
}

impl ManualEmulator {
    /// Conditions on `host`, asked for on stderr and answered on stdin.
    pub(crate) fn new(host: String, stop: CancellationToken) -> Self {
        Self { host, answers: BufReader::new(tokio::io::stdin()), stop, in_force: None }
    }

    async fn enter(&mut self) -> anyhow::Result<()> {
        let mut line = String::new();
        let read = tokio::select! {
            read = self.answers.read_line(&mut line) => read.context("waiting for Enter on stdin")?,
            () = self.stop.cancelled() => bail!("interrupted while a condition was to be set manually"),
        };
        if read == 0 {
            bail!("stdin closed before the condition was confirmed: run in a terminal");
        }
        Ok(())
    }
}

/// What to type on the server's host.
fn instructions(host: &str, condition: &Condition) -> String {
    let in_server = "docker compose run --rm emulator";
    let (with_tcset, with_shaper) = if condition.is_baseline() {
        (Some(format!("tcdel {DEVICE} --all")), "shaper clear".to_owned())
    } else {
        let options = tcset::options(condition).join(" ");
        // tcset cannot spread a delay evenly.
        let with_tcset = (condition.jitter == Delay::ZERO).then(|| format!("tcset {DEVICE} {options} --overwrite"));
        (with_tcset, format!("shaper set {}", shaper_emulator::options(condition).join(" ")))
    };
    let running = format!("while `{in_server} shaper run` runs there");
    let ways = match with_tcset {
        Some(tcset) => format!(
            "{in_server} {tcset}\n  or, {running} (but one of the two for the whole run):\n  {in_server} {with_shaper}"
        ),
        None => format!("{in_server} {with_shaper}\n  {running}"),
    };
    format!("set on {host}: {condition}\n  {ways}\nthen press Enter here")
}

/// Whether the probe alone can confirm a condition.
pub(super) fn check_supported(condition: &Condition) -> anyhow::Result<()> {
    if condition.queue_limit.is_some() {
        bail!("{condition}: manual mode cannot verify a queue limit: omit it");
    }
    Ok(())
}

#[async_trait(?Send)]
impl Emulator for ManualEmulator {
    fn name(&self) -> &'static str {
        "manual"
    }

    fn choice(&self) -> EmulatorChoice {
        EmulatorChoice::Auto
    }

    async fn prepare(&mut self, backend: &dyn Backend, _logs: &Path) -> anyhow::Result<()> {
        self.apply(backend, &Condition::BASELINE, 0).await
    }

    fn check_supported(&self, condition: &Condition) -> anyhow::Result<()> {
        check_supported(condition)
    }

    async fn apply(&mut self, _engine: &dyn Backend, condition: &Condition, _seed: u64) -> anyhow::Result<()> {
        if self.in_force.as_ref() == Some(condition) {
            return Ok(());
        }
        prompt(&instructions(&self.host, condition));
        self.in_force = None;
        self.enter().await?;
        self.in_force = Some(*condition);
        Ok(())
    }

    async fn clear_before_setup(&mut self, _engine: &dyn Backend) -> anyhow::Result<()> {
        // Twice the typing for a cell would be the greater evil.
        Ok(())
    }

    async fn read_back(&self, _engine: &dyn Backend, _asked: &Condition) -> anyhow::Result<ReadBack> {
        Ok(ReadBack { agrees: true, text: "set manually, not read back".to_owned() })
    }

    async fn counters(&self, _engine: &dyn Backend) -> anyhow::Result<Option<LinkCounters>> {
        Ok(None)
    }

    async fn shut_down(&mut self, _engine: &dyn Backend) -> anyhow::Result<()> {
        if self.in_force != Some(Condition::BASELINE) {
            say(&format!(
                "{} may still have the last condition: tcdel {DEVICE} --all, or shaper clear, ends it",
                self.host
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_told_what_to_type_for_either_emulator() {
        let condition: Condition = serde_json::from_str(r#"{"delay":"50ms","loss":"1%"}"#).unwrap();
        let text = instructions("shop.example", &condition);
        for part in
            ["shop.example", "tcset eth0 --delay 50ms --loss 1% --overwrite", "shaper set --delay=50ms", "Enter"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        let jitter: Condition = serde_json::from_str(r#"{"delay":"50ms","jitter":"5ms"}"#).unwrap();
        let text = instructions("shop.example", &jitter);
        assert!(text.contains("shaper set --delay=50ms --jitter=5ms") && !text.contains("tcset"), "{text}");
        let text = instructions("shop.example", &Condition::BASELINE);
        assert!(text.contains("tcdel eth0 --all") && text.contains("shaper clear"), "{text}");
    }
}
