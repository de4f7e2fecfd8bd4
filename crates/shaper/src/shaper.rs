//! One shaper: device, engine and detour, changed and read back together.

use anyhow::{Context as _, Result};

use crate::calibration;
use crate::condition::{Condition, Delay};
use crate::control::Status;
use crate::detour::{self, Detour};
use crate::engine::Engine;
use crate::netlink::Kernel;
use crate::next_hop::NextHops;
use crate::outlet::Outlet;
use crate::output;
use crate::rp_filter::{self, Loosened};
use crate::tun::{self, Tun};

/// A shaper of one device, at first under the baseline.
#[derive(Debug)]
pub(crate) struct Shaper {
    device: String,
    kernel: Kernel,
    detour: Detour,
    engine: Engine,
    seed: u64,
    memory_limit: u64,
    /// The TUN device's count when the condition was set.
    unread_drops_before: u64,
    _rp_filter: Loosened,
}

impl Shaper {
    /// Makes everything ready but leaves packets alone; removes what a killed shaper left here. `memory_limit` is in
    /// bytes, for the packets in the link.
    pub(crate) async fn start(device: &str, memory_limit: u64) -> Result<Self> {
        let kernel = Kernel::connect()?;
        let link = kernel.link(device).await.context("cannot shape; name the device with --device")?;
        detour::remove(&kernel).await.context("cannot remove what an earlier shaper left")?;
        detour::refuse_foreign_rules(&kernel).await?;
        let rp_filter = rp_filter::loosen(device)?;
        let tun = Tun::create()?;
        let tun_link = kernel.link(tun::NAME).await?;
        let next_hops = NextHops::by(kernel.clone(), link.index);
        let outlet = Outlet::open(device, Some(next_hops))
            .context("cannot open a raw socket (needs CAP_NET_RAW and CAP_NET_ADMIN)")?;
        let detour = Detour::new(kernel.clone(), link, tun_link);
        detour.bring_up().await?;
        let engine = calibrated(tun, outlet, memory_limit).await.context("cannot start the packet thread")?;
        Ok(Self {
            device: device.to_owned(),
            detour,
            kernel,
            engine,
            seed: 0,
            memory_limit,
            unread_drops_before: 0,
            _rp_filter: rp_filter,
        })
    }

    /// Puts a condition in force, whole: packets that come from now on meet it, those in the link keep their times.
    pub(crate) async fn set(&mut self, condition: Condition, seed: u64) -> Result<()> {
        let condition = condition.validate()?;
        if condition.is_baseline() {
            self.detour.close().await?;
        }
        self.engine.switch(condition, seed)?;
        self.seed = seed;
        self.unread_drops_before = self.kernel.link(tun::NAME).await?.tx_dropped;
        if !condition.is_baseline() {
            self.detour.open().await?;
        }
        Ok(())
    }

    /// The state, read from the link and the kernel and not from memory.
    pub(crate) async fn status(&self) -> Result<Status> {
        let report = self.engine.report().await?;
        let tx_dropped = self.kernel.link(tun::NAME).await?.tx_dropped;
        Ok(Status {
            pid: std::process::id(),
            device: self.device.clone(),
            tun: tun::NAME.to_owned(),
            condition: report.condition,
            queue_limit: report.condition.effective_queue_limit(),
            seed: self.seed,
            path: self.detour.path().await?,
            counters: report.counters,
            unread_drops: tx_dropped.saturating_sub(self.unread_drops_before),
            scheduling: report.scheduling,
            compensation: report.compensation,
            max_lateness_us: u64::try_from(report.max_lateness.as_micros()).unwrap_or(u64::MAX),
            memory_used_bytes: report.memory_used,
            memory_limit_bytes: self.memory_limit,
        })
    }

    /// Waits until the engine fails, if it ever does.
    pub(crate) async fn failed(&mut self) {
        self.engine.ended().await;
    }

    /// Restores the bare link; packets in the shaper leave at once. Reports packets that could not be sent.
    pub(crate) async fn stop(self) -> Result<()> {
        let closed = self.detour.close().await.context("cannot restore the routing rules");
        let lost = self.engine.stop().context("the packet thread failed");
        closed?;
        match lost? {
            0 => {}
            lost => output::warning(&format!("{lost} packets could not be sent when the shaper stopped")),
        }
        Ok(())
    }
}

/// A packet thread that knows what its own way costs packets, if that can be measured here. It lets out by `outlet`.
async fn calibrated(tun: Tun, outlet: Outlet, memory_limit: u64) -> Result<Engine> {
    let engine = Engine::start(tun, Outlet::open(calibration::EXIT_DEVICE, None)?, memory_limit)?;
    let delay = Delay::try_from(calibration::DELAY)?;
    engine.switch(Condition { delay, ..Condition::BASELINE }, 0)?;
    let measured = tokio::task::spawn_blocking(calibration::measure_arrival_cost).await?;
    engine.switch(Condition::BASELINE, 0)?;
    engine.let_out_by(outlet)?;
    // What cannot be measured is not taken off; `shaper show` tells.
    if let Ok(cost) = measured {
        engine.take_off(cost)?;
    }
    Ok(engine)
}
