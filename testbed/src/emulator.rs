//! Emulators, which impose a condition on the server's link, and the selection of one.

mod manual;
mod shaper;
mod tcset;

use std::path::Path;

use ::model::Condition;
use anyhow::{Context, bail};
use async_trait::async_trait;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::backend::{NodeHandle, ShopAddress};
use manual::ManualEmulator;
use shaper::ShaperEmulator;
use tcset::TcsetEmulator;

/// State of the link, read from the kernel or from the shaper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReadBack {
    /// Whether it equals the requested condition.
    pub(crate) agrees: bool,
    /// The state, for `cells.csv`.
    pub(crate) text: String,
}

/// Packets that the emulator has counted since the condition was set.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct LinkCounters {
    /// Packets that left the link.
    pub(crate) sent: u64,
    /// Dropped packets, for any reason.
    pub(crate) dropped: u64,
    /// Packets dropped by the requested loss; `None` if the emulator does not separate the reasons, or counts drops and
    /// packets in different units.
    pub(crate) lost: Option<u64>,
    /// Packets dropped because the queue was full; `None` likewise.
    pub(crate) queue_full: Option<u64>,
    /// Packets that the emulator failed to handle; not part of any condition.
    pub(crate) unintended_drops: u64,
    /// Packets in the link now.
    pub(crate) queued: u64,
    /// Maximum lateness of a packet, milliseconds, if the emulator measures it.
    pub(crate) max_lateness_ms: Option<f64>,
}

impl LinkCounters {
    /// Returns the number of packets that could be lost: loss is decided before delay and queue.
    pub(crate) fn loss_candidates(&self) -> u64 {
        self.sent + self.queued + self.lost.unwrap_or(0) + self.queue_full.unwrap_or(0) + self.unintended_drops
    }
}

/// Imposes conditions on the packets that the server sends.
#[async_trait(?Send)]
pub(crate) trait Emulator {
    /// Returns its name on the command line.
    fn name(&self) -> &'static str;

    /// Returns the choice that selects this emulator again.
    fn choice(&self) -> EmulatorChoice;

    /// Starts what it needs in the server's node, and checks that it works there.
    ///
    /// # Errors
    /// The reason why it does not work, with advice.
    async fn prepare(&mut self, logs: &Path) -> anyhow::Result<()>;

    /// Returns whether it handles a GSO packet (several segments) as one packet.
    fn treats_gso_as_one_packet(&self) -> bool {
        false
    }

    /// Checks whether it can impose the condition.
    ///
    /// # Errors
    /// Names the unsupported part.
    fn check_supported(&self, condition: &Condition) -> anyhow::Result<()>;

    /// Replaces the current condition. The baseline makes the link unshaped.
    async fn apply(&mut self, condition: &Condition, seed: u64) -> anyhow::Result<()>;

    /// Makes the link unshaped while clients start, so that the previous condition does not slow them down.
    async fn clear_before_setup(&mut self) -> anyhow::Result<()> {
        self.apply(&Condition::BASELINE, 0).await
    }

    /// Reads the current condition from the kernel or the shaper, not from the driver's memory.
    async fn read_back(&self, requested: &Condition) -> anyhow::Result<ReadBack>;

    /// Returns the packets counted since `apply`; `None` for an unshaped link.
    async fn counters(&self) -> anyhow::Result<Option<LinkCounters>>;

    /// Makes the link unshaped and stops what `prepare` started. May be called repeatedly.
    async fn shut_down(&mut self) -> anyhow::Result<()>;
}

/// Requested emulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EmulatorChoice {
    /// tcset if it works in the server's node, otherwise the shaper.
    Auto,
    /// The kernel's netem through tcconfig's tcset.
    Tcset,
    /// The testbed's own emulator in user space.
    Shaper,
}

impl EmulatorChoice {
    /// Returns the choice that a manifest names.
    pub(crate) fn named(name: &str) -> Option<Self> {
        <Self as ValueEnum>::from_str(name, false).ok()
    }
}

/// An emulator that works.
pub(crate) struct SelectedEmulator {
    /// The emulator, prepared.
    pub(crate) emulator: Box<dyn Emulator>,
    /// Why it was selected, one line.
    pub(crate) reason: String,
}

/// Asks an operator to set conditions on the link of an external server.
///
/// # Errors
/// When the operator does not confirm the baseline.
pub(crate) async fn manual(
    shop: &ShopAddress,
    logs: &Path,
    stop: &CancellationToken,
) -> anyhow::Result<SelectedEmulator> {
    let manual = ManualEmulator::new(shop.host.clone(), stop.clone());
    prepared(Box::new(manual), logs, "external server: conditions are set manually").await
}

/// Prepares the requested emulator in the server's node, or the first that works and supports all conditions.
///
/// # Errors
/// When the requested emulator, or each of them, does not work in the node.
pub(crate) async fn select(
    server: &NodeHandle,
    choice: EmulatorChoice,
    conditions: &[Condition],
    logs: &Path,
) -> anyhow::Result<SelectedEmulator> {
    let tcset = || Box::new(TcsetEmulator::new(server.clone()));
    let shaper = || Box::new(ShaperEmulator::new(server.clone()));
    match choice {
        EmulatorChoice::Shaper => prepared(shaper(), logs, "requested").await,
        EmulatorChoice::Tcset => prepared(tcset(), logs, "requested").await.context("tcset does not work here"),
        EmulatorChoice::Auto => {
            let selected = match conditions.iter().try_for_each(tcset::check_supported) {
                Ok(()) => prepared(tcset(), logs, "it works in the server's node").await,
                Err(unsupported) => Err(unsupported),
            };
            let no_tcset = match selected {
                Ok(selected) => return Ok(selected),
                Err(error) => format!("{error:#}"),
            };
            let reason = format!("tcset does not work here: {no_tcset}");
            match prepared(shaper(), logs, &reason).await {
                Ok(selected) => Ok(selected),
                Err(error) => bail!("no emulator works in the server's node\n  tcset: {no_tcset}\n  shaper: {error:#}"),
            }
        }
    }
}

async fn prepared(mut emulator: Box<dyn Emulator>, logs: &Path, reason: &str) -> anyhow::Result<SelectedEmulator> {
    emulator.prepare(logs).await?;
    let reason = format!("emulator {}: {reason}", emulator.name());
    Ok(SelectedEmulator { emulator, reason })
}

/// Checks, without an environment, whether the requested emulator supports the condition; `auto` selects one that does.
///
/// # Errors
/// Names the unsupported part.
pub(crate) fn check_supported_by(choice: EmulatorChoice, is_manual: bool, condition: &Condition) -> anyhow::Result<()> {
    match choice {
        _ if is_manual => manual::check_supported(condition),
        EmulatorChoice::Tcset => tcset::check_supported(condition),
        EmulatorChoice::Shaper | EmulatorChoice::Auto => Ok(()),
    }
}
