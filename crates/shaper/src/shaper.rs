//! One shaper: device, engine and policy routing, changed and read back together.

use anyhow::{Context as _, Result};

use crate::calibration;
use crate::control_protocol::Status;
use crate::egress::Egress;
use crate::forwarder::Forwarder;
use crate::neighbour_cache::NeighbourCache;
use crate::netlink::Netlink;
use crate::output;
use crate::policy_routing;
use crate::policy_routing::PolicyRouting;
use crate::rp_filter;
use crate::rp_filter::RpFilterGuard;
use crate::tun;
use crate::tun::Tun;
use model::{Condition, Delay};

/// A shaper of one device, at first under the baseline.
#[derive(Debug)]
pub(crate) struct Shaper {
    device: String,
    kernel: Netlink,
    routing: PolicyRouting,
    engine: Forwarder,
    seed: u64,
    memory_limit: u64,
    /// The TUN device's count when the condition was set.
    unread_drops_before: u64,
    _rp_filter: RpFilterGuard,
}

impl Shaper {
    /// Makes everything ready but leaves packets alone; removes what a killed shaper left here. `memory_limit` is in
    /// bytes, for the packets in the link.
    pub(crate) async fn start(device: &str, memory_limit: u64) -> Result<Self> {
        let kernel = Netlink::connect()?;
        let link = kernel.link(device).await.context("cannot shape; name the device with --device")?;
        policy_routing::remove(&kernel).await.context("cannot remove what an earlier shaper left")?;
        policy_routing::refuse_foreign_rules(&kernel).await?;
        let rp_filter = rp_filter::loosen(device)?;
        let tun = Tun::create()?;
        let tun_link = kernel.link(tun::NAME).await?;
        let neighbours = NeighbourCache::by(kernel.clone(), link.index);
        let egress = Egress::open(device, Some(neighbours))
            .context("cannot open a raw socket (needs CAP_NET_RAW and CAP_NET_ADMIN)")?;
        let routing = PolicyRouting::new(kernel.clone(), link, tun_link);
        routing.bring_up().await?;
        let engine = calibrated(tun, egress, memory_limit).await.context("cannot start the packet thread")?;
        Ok(Self {
            device: device.to_owned(),
            routing,
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
            self.routing.close().await?;
        }
        self.engine.switch(condition, seed)?;
        self.seed = seed;
        self.unread_drops_before = self.kernel.link(tun::NAME).await?.tx_dropped;
        if !condition.is_baseline() {
            self.routing.open().await?;
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
            routing: self.routing.routing().await?,
            counters: report.counters,
            tun_drops: tx_dropped.saturating_sub(self.unread_drops_before),
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

    /// Restores the unshaped link; packets in the shaper leave at once. Reports packets that could not be sent.
    pub(crate) async fn stop(self) -> Result<()> {
        let closed = self.routing.close().await.context("cannot restore the routing rules");
        let lost = self.engine.stop().context("the packet thread failed");
        closed?;
        match lost? {
            0 => {}
            lost => output::warning(&format!("{lost} packets could not be sent when the shaper stopped")),
        }
        Ok(())
    }
}

/// A forwarder that sends by `egress` and, if this can be measured here, knows its own processing time.
async fn calibrated(tun: Tun, egress: Egress, memory_limit: u64) -> Result<Forwarder> {
    let engine = Forwarder::start(tun, Egress::open(calibration::EXIT_DEVICE, None)?, memory_limit)?;
    let delay = Delay::try_from(calibration::DELAY)?;
    engine.switch(Condition { delay, ..Condition::BASELINE }, 0)?;
    let measured = tokio::task::spawn_blocking(calibration::measure_arrival_cost).await?;
    engine.switch(Condition::BASELINE, 0)?;
    engine.let_out_by(egress)?;
    // What cannot be measured is not taken off; `shaper show` tells.
    if let Ok(cost) = measured {
        engine.take_off(cost)?;
    }
    Ok(engine)
}
