//! Runs the probe from the first client, through the link to the server and back.

use anyhow::{Context, bail};
use client::probe::ProbeReport;
use model::Condition;

use crate::backend::{Backend, Node, NodeCommand};
use crate::program::Program;
use crate::verify::probe_plan::{
    BURST_PAYLOAD_BYTES, ECHO_PAYLOAD_BYTES, ProbePlan, ProbeResult, Spread, Train, can_show_unrequested_rates,
};

/// Node that runs the probe.
pub(super) const PROBE_NODE: Node = Node::Client(1);

/// TCP handshakes that detect a proxy before the link. A few suffice: only the shortest counts.
const HANDSHAKES: &str = "5";
const HANDSHAKE_TIMEOUT: &str = "3s";

/// Sends the packets of a plan for a condition.
///
/// # Errors
/// When the probe does not run. Missing replies are no error.
pub(super) async fn probe(
    backend: &dyn Backend,
    plan: &ProbePlan,
    requested: &Condition,
) -> anyhow::Result<ProbeResult> {
    let timeout = format!("{}ms", plan.reply_timeout_ms);
    let echoes = send(backend, plan.close, &timeout).await?;
    let spaced = match plan.spaced {
        Some(train) => Some(send(backend, train, &timeout).await?),
        None => None,
    };
    let burst = match plan.burst {
        Some(packets) => {
            let (packets, size) = (packets.to_string(), BURST_PAYLOAD_BYTES.to_string());
            Some(echo(backend, &["--burst", &packets, "--size", &size, "--timeout", &timeout]).await?)
        }
        None => None,
    };
    let can_show_proxy = backend.shop().echo_port.is_some() && !requested.delay.as_duration().is_zero();
    let handshakes = if can_show_proxy { Some(handshakes(backend, backend.shop().shop_port).await?) } else { None };
    let milliseconds = |microseconds: f64| microseconds / 1_000.0;
    let spread = spaced.as_ref().and_then(|report| {
        let round_trips: Vec<f64> = report.rtt_us.iter().flatten().copied().map(milliseconds).collect();
        Spread::of(&round_trips, requested.jitter)
    });
    Ok(ProbeResult {
        sent: echoes.sent + spaced.as_ref().map_or(0, |report| report.sent),
        received: echoes.received + spaced.as_ref().map_or(0, |report| report.received),
        rtt_median_ms: spread.map(|spread| spread.median_ms).or(echoes.median_us.map(milliseconds)),
        spread,
        rate_bits_per_second: burst.and_then(|burst| burst.rate_bits_per_second),
        handshake_min_ms: handshakes.and_then(|report| report.min_us).map(milliseconds),
    })
}

/// The unshaped link, measured before the first cell.
#[derive(Debug, Clone, Copy)]
pub(super) struct BaselineLink {
    /// Median RTT, milliseconds.
    pub(super) rtt_ms: f64,
    /// Whether cells check for an unrequested rate limit: conditions are set manually, and the unshaped link is fast
    /// enough to show one.
    pub(super) checks_unrequested_rate: bool,
}

/// Measures the unshaped link. `is_manual`: conditions are set manually.
///
/// # Errors
/// When no echo reply arrives.
pub(super) async fn measure_baseline(backend: &dyn Backend, is_manual: bool) -> anyhow::Result<BaselineLink> {
    let baseline = Condition::BASELINE;
    let plan = ProbePlan::for_condition(&baseline);
    let plan = if is_manual { plan.with_rate_check() } else { plan };
    let measured = probe(backend, &plan, &baseline).await?;
    let shop = backend.shop();
    let rtt_ms = measured.rtt_median_ms.with_context(|| match shop.echo_port {
        None => "no reply from the server to echo requests on the unshaped link".to_owned(),
        Some(port) => format!(
            "no reply from {} to echo requests on UDP port {port}: is the port published and allowed by the firewall, \
             and was the shop started with --echo-listen (compose.yaml does)?",
            shop.host
        ),
    })?;
    Ok(BaselineLink { rtt_ms, checks_unrequested_rate: is_manual && can_show_unrequested_rates(&measured) })
}

/// Checks that a port of the shop accepts connections.
///
/// # Errors
/// When it does not.
pub(super) async fn check_handshake(backend: &dyn Backend, port: u16) -> anyhow::Result<()> {
    let report = handshakes(backend, port).await?;
    if report.received == 0 {
        bail!(
            "{}:{port} accepts no connections: is the port published and allowed by the firewall?",
            backend.shop().host
        );
    }
    Ok(())
}

/// Sends small echo requests at even intervals.
async fn send(backend: &dyn Backend, train: Train, timeout: &str) -> anyhow::Result<ProbeReport> {
    let (count, interval) = (train.echoes.to_string(), format!("{}us", train.interval_us));
    let size = ECHO_PAYLOAD_BYTES.to_string();
    echo(backend, &["--count", &count, "--interval", &interval, "--size", &size, "--timeout", timeout]).await
}

async fn echo(backend: &dyn Backend, options: &[&str]) -> anyhow::Result<ProbeReport> {
    match backend.shop().echo_port {
        None => run(backend, options).await,
        Some(port) => run(backend, &[&["--udp", &port.to_string()], options].concat()).await,
    }
}

async fn handshakes(backend: &dyn Backend, port: u16) -> anyhow::Result<ProbeReport> {
    let port = port.to_string();
    run(backend, &["--tcp", &port, "--count", HANDSHAKES, "--interval", "0ms", "--timeout", HANDSHAKE_TIMEOUT]).await
}

async fn run(backend: &dyn Backend, options: &[&str]) -> anyhow::Result<ProbeReport> {
    let shop = backend.shop();
    let arguments = [&["probe", "--server", &shop.host], options].concat();
    let command = NodeCommand::program(Program::ShopClient, arguments);
    let output = backend.exec(PROBE_NODE, &command).await?.success(&command)?;
    serde_json::from_str(output.stdout.trim()).with_context(|| format!("`{command}` printed no report"))
}
