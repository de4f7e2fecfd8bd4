//! Manual emulation: an operator sets each condition on the server's host, with the commands that the run prints. There
//! is no readback; only the probe verifies the condition.

use std::path::Path;

use anyhow::{Context, bail};
use async_trait::async_trait;
use model::{Condition, Delay};
use tokio::io::{AsyncBufReadExt, BufReader, Stdin};
use tokio_util::sync::CancellationToken;

use crate::backend::DEVICE;
use crate::emulator::{Emulator, EmulatorChoice, LinkCounters, ReadBack, shaper as shaper_emulator, tcset};
use crate::output::{print_status, prompt};

/// An operator who sets conditions.
pub(crate) struct ManualEmulator {
    /// The server's host, as the user named it.
    host: String,
    /// Stdin, on which the operator presses Enter.
    stdin: BufReader<Stdin>,
    /// Ctrl-C.
    stop: CancellationToken,
    /// The condition that the operator confirmed last.
    current: Option<Condition>,
}

impl ManualEmulator {
    /// Creates an emulator that prompts on stderr, and reads confirmations from stdin.
    pub(crate) fn new(host: String, stop: CancellationToken) -> Self {
        Self { host, stdin: BufReader::new(tokio::io::stdin()), stop, current: None }
    }

    async fn wait_for_enter(&mut self) -> anyhow::Result<()> {
        let mut line = String::new();
        let read = tokio::select! {
            read = self.stdin.read_line(&mut line) => read.context("waiting for Enter on stdin")?,
            () = self.stop.cancelled() => bail!("interrupted while a condition was to be set manually"),
        };
        if read == 0 {
            bail!("stdin closed before the condition was confirmed: run in a terminal");
        }
        Ok(())
    }
}

/// Returns the commands to run on the server's host.
fn instructions(host: &str, condition: &Condition) -> String {
    let in_server = "docker compose run --rm emulator";
    let (with_tcset, with_shaper) = if condition.is_baseline() {
        (Some(format!("tcdel {DEVICE} --all")), "shaper clear".to_owned())
    } else {
        let options = tcset::options(condition).join(" ");
        // tcset's jitter is normally distributed only.
        let with_tcset = (condition.jitter == Delay::ZERO).then(|| format!("tcset {DEVICE} {options} --overwrite"));
        (with_tcset, format!("shaper set {}", shaper_emulator::options(condition).join(" ")))
    };
    let running = format!("while `{in_server} shaper run` runs there");
    let commands = match with_tcset {
        Some(tcset) => format!(
            "{in_server} {tcset}\n  or, {running} (but one of the two for the whole run):\n  {in_server} {with_shaper}"
        ),
        None => format!("{in_server} {with_shaper}\n  {running}"),
    };
    format!("set on {host}: {condition}\n  {commands}\nthen press Enter here")
}

/// Checks whether the probe alone can verify the condition.
///
/// # Errors
/// Names the part that it cannot verify.
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

    async fn prepare(&mut self, _logs: &Path) -> anyhow::Result<()> {
        self.apply(&Condition::BASELINE, 0).await
    }

    fn check_supported(&self, condition: &Condition) -> anyhow::Result<()> {
        check_supported(condition)
    }

    async fn apply(&mut self, condition: &Condition, _seed: u64) -> anyhow::Result<()> {
        if self.current.as_ref() == Some(condition) {
            return Ok(());
        }
        prompt(&instructions(&self.host, condition));
        self.current = None;
        self.wait_for_enter().await?;
        self.current = Some(*condition);
        Ok(())
    }

    async fn clear_before_setup(&mut self) -> anyhow::Result<()> {
        // Not cleared between cells: that would double the manual steps.
        Ok(())
    }

    async fn read_back(&self, _requested: &Condition) -> anyhow::Result<ReadBack> {
        Ok(ReadBack { agrees: true, text: "set manually, no readback".to_owned() })
    }

    async fn counters(&self) -> anyhow::Result<Option<LinkCounters>> {
        Ok(None)
    }

    async fn shut_down(&mut self) -> anyhow::Result<()> {
        if self.current != Some(Condition::BASELINE) {
            print_status(&format!(
                "{} may still have the last condition: remove it with tcdel {DEVICE} --all or shaper clear",
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
    fn instructions_contain_the_commands_of_both_emulators() {
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
