//! One shaper: device, forwarder and policy routing, changed and read back together.

use anyhow::{Context as _, Result};

use crate::NAME;
use crate::calibration;
use crate::control_protocol::Status;
use crate::egress::Egress;
use crate::forwarder::Forwarder;
use crate::neighbour_cache::NeighbourCache;
use crate::netlink::Netlink;
use crate::policy_routing;
use crate::policy_routing::PolicyRouting;
use crate::rp_filter;
use crate::rp_filter::RpFilterGuard;
use crate::tun;
use crate::tun::Tun;
use model::{Condition, Delay};
use program_main::warning;

/// Shaper of one device. It starts with the baseline.
#[derive(Debug)]
pub(crate) struct Shaper {
    device: String,
    netlink: Netlink,
    routing: PolicyRouting,
    forwarder: Forwarder,
    seed: u64,
    memory_limit: u64,
    /// The TUN device's drop counter when the condition was set.
    tun_drops_before: u64,
    _rp_filter: RpFilterGuard,
}

impl Shaper {
    /// Creates the shaper without routing packets to it; removes stale rules and routes of a killed shaper.
    /// `memory_limit` is in bytes, for the packets in the link.
    pub(crate) async fn start(device: &str, memory_limit: u64) -> Result<Self> {
        let netlink = Netlink::connect()?;
        let interface =
            netlink.interface(device).await.context("cannot start the shaper; select the device with --device")?;
        policy_routing::remove(&netlink).await.context("cannot remove stale rules and routes of a killed shaper")?;
        policy_routing::reject_foreign_rules(&netlink).await?;
        let rp_filter = rp_filter::loosen(device)?;
        let tun = Tun::create()?;
        let tun_interface = netlink.interface(tun::NAME).await?;
        let neighbours = NeighbourCache::start(netlink.clone(), interface.index);
        let egress = Egress::open(device, Some(neighbours))
            .context("cannot open a raw socket (needs CAP_NET_RAW and CAP_NET_ADMIN)")?;
        let routing = PolicyRouting::new(netlink.clone(), interface, tun_interface);
        routing.bring_up().await?;
        let forwarder = start_calibrated(tun, egress, memory_limit).await.context("cannot start the forwarder")?;
        Ok(Self {
            device: device.to_owned(),
            routing,
            netlink,
            forwarder,
            seed: 0,
            memory_limit,
            tun_drops_before: 0,
            _rp_filter: rp_filter,
        })
    }

    /// Replaces the condition. It applies to packets that arrive from now on; those in the link keep their times.
    pub(crate) async fn set(&mut self, condition: Condition, seed: u64) -> Result<()> {
        let condition = condition.validate()?;
        if condition.is_baseline() {
            self.routing.deactivate().await?;
        }
        self.forwarder.switch(condition, seed)?;
        self.seed = seed;
        self.tun_drops_before = self.netlink.interface(tun::NAME).await?.tx_dropped;
        if !condition.is_baseline() {
            self.routing.activate().await?;
        }
        Ok(())
    }

    /// Returns the status, read back from the link and the kernel.
    pub(crate) async fn status(&self) -> Result<Status> {
        let report = self.forwarder.report().await?;
        let tx_dropped = self.netlink.interface(tun::NAME).await?.tx_dropped;
        Ok(Status {
            pid: std::process::id(),
            device: self.device.clone(),
            tun: tun::NAME.to_owned(),
            condition: report.condition,
            queue_limit: report.condition.effective_queue_limit(),
            seed: self.seed,
            routing: self.routing.status().await?,
            counters: report.counters,
            tun_drops: tx_dropped.saturating_sub(self.tun_drops_before),
            scheduling: report.scheduling,
            compensation: report.compensation,
            max_lateness_us: u64::try_from(report.max_lateness.as_micros()).unwrap_or(u64::MAX),
            memory_used_bytes: report.memory_used,
            memory_limit_bytes: self.memory_limit,
        })
    }

    /// Waits until the forwarder fails; never returns if it does not.
    pub(crate) async fn failed(&mut self) {
        self.forwarder.ended().await;
    }

    /// Restores the unshaped link. Packets in the shaper are sent immediately; those that cannot be sent are reported.
    pub(crate) async fn stop(self) -> Result<()> {
        let restored = self.routing.deactivate().await.context("cannot restore the routing rules");
        let unsent = self.forwarder.stop().context("the forwarder failed");
        restored?;
        match unsent? {
            0 => {}
            unsent => warning(NAME, format_args!("{unsent} packets could not be sent when the shaper stopped")),
        }
        Ok(())
    }
}

/// Starts a forwarder that sends by `egress` and compensates its own cost, if that can be measured on this host.
async fn start_calibrated(tun: Tun, egress: Egress, memory_limit: u64) -> Result<Forwarder> {
    let forwarder = Forwarder::start(tun, Egress::open(calibration::EGRESS_DEVICE, None)?, memory_limit)?;
    let delay = Delay::try_from(calibration::DELAY)?;
    forwarder.switch(Condition { delay, ..Condition::BASELINE }, 0)?;
    let measured = tokio::task::spawn_blocking(calibration::measure_arrival_cost).await?;
    forwarder.switch(Condition::BASELINE, 0)?;
    forwarder.set_egress(egress)?;
    // A cost that cannot be measured is not compensated; `shaper show` reports it.
    if let Ok(cost) = measured {
        forwarder.set_arrival_cost(cost)?;
    }
    Ok(forwarder)
}
