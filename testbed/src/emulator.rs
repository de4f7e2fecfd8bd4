//! What imposes a condition on the server's link. Two emulators behind one trait, and the choice between them.

mod manual;
mod shaper;
mod tcset;

use ::model::Condition;
use anyhow::{Context, bail};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::backend::{Backend, CommandOutput, Node, NodeCommand};
use std::path::Path;

pub(crate) use crate::emulator::shaper::ShaperEmulator;
pub(crate) use manual::ManualEmulator;
pub(crate) use tcset::TcsetEmulator;

/// What an emulator says of itself when asked what is in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReadBack {
    /// Whether that is what was asked for.
    pub(crate) agrees: bool,
    /// What was read, for people.
    pub(crate) text: String,
}

/// The emulator's own count of packets since the condition was set.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct LinkCounters {
    /// Packets that left the link.
    pub(crate) sent: u64,
    /// Packets dropped, whatever for.
    pub(crate) dropped: u64,
    /// Of these, by the loss that was asked for; `None` when the emulator doesn't tell them apart, or counts drops and
    /// packets in different units.
    pub(crate) lost: Option<u64>,
    /// Of these, because the queue was full; `None` likewise.
    pub(crate) queue_full: Option<u64>,
    /// Packets that the emulator could not handle: no part of any condition.
    pub(crate) unintended_drops: u64,
    /// Packets in the link at this moment.
    pub(crate) queued: u64,
    /// The latest that a packet left after its time, milliseconds, where the emulator knows.
    pub(crate) max_lateness_ms: Option<f64>,
}

impl LinkCounters {
    /// Packets for which the loss was drawn: it is, before anything else befalls them.
    pub(crate) fn loss_candidates(&self) -> u64 {
        self.sent + self.queued + self.lost.unwrap_or(0) + self.queue_full.unwrap_or(0) + self.unintended_drops
    }
}

/// What every emulator can do, all of it to the server's link and to the packets that the server sends.
#[async_trait(?Send)]
pub(crate) trait Emulator {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// How another one of its kind is asked for.
    fn choice(&self) -> EmulatorChoice;

    /// Starts what it needs in the server's node and finds out whether it works there.
    ///
    /// # Errors
    /// Why it doesn't, and what to do about it.
    async fn prepare(&mut self, backend: &dyn Backend, logs: &Path) -> anyhow::Result<()>;

    /// Whether it handles GSO packets of segments as one packet when the server's device takes them (segmentation
    /// offload).
    fn treats_gso_as_one_packet(&self) -> bool {
        false
    }

    /// Whether it can impose this condition.
    ///
    /// # Errors
    /// Names the part that it can't express.
    fn check_supported(&self, condition: &Condition) -> anyhow::Result<()>;

    /// Replaces what is in force by this condition; the baseline leaves the unshaped link.
    async fn apply(&mut self, backend: &dyn Backend, condition: &Condition, seed: u64) -> anyhow::Result<()>;

    /// Leaves the unshaped link while clients get ready, so that what the cell before was about does not slow them
    /// down.
    async fn clear_before_setup(&mut self, backend: &dyn Backend) -> anyhow::Result<()> {
        self.apply(backend, &Condition::BASELINE, 0).await
    }

    /// Asks the running link, not its own memory, what is in force.
    async fn read_back(&self, backend: &dyn Backend, requested: &Condition) -> anyhow::Result<ReadBack>;

    /// The packets counted since `apply`; `None` on the unshaped link.
    async fn counters(&self, backend: &dyn Backend) -> anyhow::Result<Option<LinkCounters>>;

    /// Leaves the unshaped link and stops what `prepare` started. May be called more than once.
    async fn shut_down(&mut self, backend: &dyn Backend) -> anyhow::Result<()>;
}

/// The user's choice of emulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EmulatorChoice {
    /// tcset where it was seen to work, else the shaper.
    Auto,
    /// Kernel netem through tcconfig's tcset.
    Tcset,
    /// Our own, in user space.
    Shaper,
}

impl EmulatorChoice {
    /// The one that a manifest names.
    pub(crate) fn named(name: &str) -> Option<Self> {
        <Self as clap::ValueEnum>::from_str(name, false).ok()
    }
}

/// An emulator that was seen to work, and why it was taken.
pub(crate) struct Chosen {
    /// The emulator, prepared.
    pub(crate) emulator: Box<dyn Emulator>,
    /// One line for the user and the manifest.
    pub(crate) why: String,
}

/// Prepares the emulator that the user wants, or the first that works and can impose all the conditions; for a shop
/// for an external server, an operator.
///
/// # Errors
/// When the wanted one, or all, do not work in the server's node.
pub(crate) async fn choose(
    backend: &dyn Backend,
    choice: EmulatorChoice,
    conditions: &[Condition],
    logs: &Path,
    stop: &CancellationToken,
) -> anyhow::Result<Chosen> {
    if !backend.has_server() {
        let manual = ManualEmulator::new(backend.shop().host.clone(), stop.clone());
        return prepared(backend, Box::new(manual), logs, "external server: conditions are set manually").await;
    }
    match choice {
        EmulatorChoice::Shaper => prepared(backend, Box::new(ShaperEmulator::default()), logs, "asked for").await,
        EmulatorChoice::Tcset => {
            prepared(backend, Box::new(TcsetEmulator), logs, "asked for").await.context("tcset does not work here")
        }
        EmulatorChoice::Auto => {
            let tcset = match conditions.iter().try_for_each(|condition| TcsetEmulator.check_supported(condition)) {
                Ok(()) => prepared(backend, Box::new(TcsetEmulator), logs, "it works in the server's node").await,
                Err(cannot) => Err(cannot),
            };
            let no_tcset = match tcset {
                Ok(chosen) => return Ok(chosen),
                Err(error) => format!("{error:#}"),
            };
            let why = format!("tcset does not work here: {no_tcset}");
            match prepared(backend, Box::new(ShaperEmulator::default()), logs, &why).await {
                Ok(chosen) => Ok(chosen),
                Err(error) => bail!("no emulator works in the server's node\n  tcset: {no_tcset}\n  shaper: {error:#}"),
            }
        }
    }
}

async fn prepared(
    backend: &dyn Backend,
    mut emulator: Box<dyn Emulator>,
    logs: &Path,
    why: &str,
) -> anyhow::Result<Chosen> {
    emulator.prepare(backend, logs).await?;
    let why = format!("emulator {}: {why}", emulator.name());
    Ok(Chosen { emulator, why })
}

/// Checks, without an environment, whether the emulator that was asked for can impose `condition`; `auto` takes one
/// that can.
///
/// # Errors
/// Names the part that it cannot express.
pub(crate) fn check_supported_by(choice: EmulatorChoice, is_manual: bool, condition: &Condition) -> anyhow::Result<()> {
    match choice {
        _ if is_manual => manual::check_supported(condition),
        EmulatorChoice::Tcset => TcsetEmulator.check_supported(condition),
        EmulatorChoice::Shaper | EmulatorChoice::Auto => Ok(()),
    }
}

/// Runs a command in the server's node that must succeed.
async fn on_server(backend: &dyn Backend, command: NodeCommand) -> anyhow::Result<CommandOutput> {
    backend.exec(Node::Server, &command).await?.success(&command)
}
