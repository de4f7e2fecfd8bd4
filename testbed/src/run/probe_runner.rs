//! Sends the probe through the link: from the first client to the server and back.

use anyhow::{Context, bail};
use client::probe::ProbeReport;
use model::Condition;

use crate::backend::{Backend, Node, NodeCommand};
use crate::program::Program;
use crate::verify::probe_plan::{
    BURST_PAYLOAD_BYTES, ECHO_PAYLOAD_BYTES, Measured, ProbePlan, Spread, Train, shows_unasked_rates,
};

/// The node that probes.
pub(crate) const PROBER: Node = Node::Client(1);

/// TCP handshakes that look for a proxy before the link: a few, since only the quickest counts.
const HANDSHAKES: &str = "5";
/// Longest wait for one of them.
const HANDSHAKE_TIMEOUT: &str = "3s";

/// Carries out a plan for a condition.
pub(crate) async fn probe(backend: &dyn Backend, plan: &ProbePlan, requested: &Condition) -> anyhow::Result<Measured> {
    let patience = format!("{}ms", plan.patience_ms);
    let echoes = send(backend, plan.close, &patience).await?;
    let spaced = match plan.spaced {
        Some(train) => Some(send(backend, train, &patience).await?),
        None => None,
    };
    let burst = match plan.burst {
        Some(packets) => {
            let (packets, size) = (packets.to_string(), BURST_PAYLOAD_BYTES.to_string());
            Some(echo(backend, &["--burst", &packets, "--size", &size, "--timeout", &patience]).await?)
        }
        None => None,
    };
    let is_behind_a_port = backend.shop().echo_port.is_some() && !requested.delay.as_duration().is_zero();
    let handshakes = if is_behind_a_port { Some(handshakes(backend, backend.shop().shop_port).await?) } else { None };
    let milliseconds = |microseconds: f64| microseconds / 1_000.0;
    let spread = spaced.as_ref().and_then(|report| {
        let round_trips: Vec<f64> = report.rtt_us.iter().flatten().copied().map(milliseconds).collect();
        Spread::of(&round_trips, requested.jitter)
    });
    Ok(Measured {
        sent: echoes.sent + spaced.as_ref().map_or(0, |report| report.sent),
        received: echoes.received + spaced.as_ref().map_or(0, |report| report.received),
        rtt_median_ms: spread.map(|spread| spread.median_ms).or(echoes.median_us.map(milliseconds)),
        spread,
        rate_bits_per_second: burst.and_then(|burst| burst.rate_bits_per_second),
        handshake_min_ms: handshakes.and_then(|report| report.min_us).map(milliseconds),
    })
}

/// What the bare link is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BaselineLink {
    /// Median round trip, milliseconds.
    pub(crate) rtt_ms: f64,
    /// Whether a rate that nobody asked for is to be looked for: conditions are set by hand, and the link is fast.
    pub(crate) watches_the_rate: bool,
}

/// Measures the bare link.
///
/// # Errors
/// When nobody answers.
pub(crate) async fn measure_baseline(backend: &dyn Backend) -> anyhow::Result<BaselineLink> {
    let bare = Condition::BASELINE;
    let is_manual = !backend.has_server();
    let plan = ProbePlan::for_condition(&bare);
    let plan = if is_manual { plan.watching_the_rate() } else { plan };
    let measured = probe(backend, &plan, &bare).await?;
    let shop = backend.shop();
    let rtt_ms = measured.rtt_median_ms.with_context(|| match shop.echo_port {
        None => "the server does not answer echo requests on the bare link".to_owned(),
        Some(port) => format!(
            "no answer from {} to echo requests on UDP port {port}: is it published and let through, and was the shop \
             started with --echo-listen (compose does)?",
            shop.host
        ),
    })?;
    Ok(BaselineLink { rtt_ms, watches_the_rate: is_manual && shows_unasked_rates(&measured) })
}

/// Whether one of the shop's ports takes connections.
///
/// # Errors
/// When it doesn't.
pub(crate) async fn check_handshake(backend: &dyn Backend, port: u16) -> anyhow::Result<()> {
    let report = handshakes(backend, port).await?;
    if report.received == 0 {
        bail!("{}:{port} takes no connections: is it published and let through?", backend.shop().host);
    }
    Ok(())
}

/// Small echo requests at even intervals.
async fn send(backend: &dyn Backend, train: Train, patience: &str) -> anyhow::Result<ProbeReport> {
    let (count, interval) = (train.echoes.to_string(), format!("{}us", train.interval_us));
    let size = ECHO_PAYLOAD_BYTES.to_string();
    echo(backend, &["--count", &count, "--interval", &interval, "--size", &size, "--timeout", patience]).await
}

async fn echo(backend: &dyn Backend, options: &[&str]) -> anyhow::Result<ProbeReport> {
    match backend.shop().echo_port {
        None => ask(backend, options).await,
        Some(port) => ask(backend, &[&["--udp", &port.to_string()], options].concat()).await,
    }
}

async fn handshakes(backend: &dyn Backend, port: u16) -> anyhow::Result<ProbeReport> {
    let port = port.to_string();
    ask(backend, &["--tcp", &port, "--count", HANDSHAKES, "--interval", "0ms", "--timeout", HANDSHAKE_TIMEOUT]).await
}

async fn ask(backend: &dyn Backend, options: &[&str]) -> anyhow::Result<ProbeReport> {
    let arguments = [&["probe", "--server", &backend.shop().host], options].concat();
    let command = NodeCommand::program(Program::ShopClient, arguments);
    let output = backend.exec(PROBER, &command).await?.success(&command)?;
    serde_json::from_str(output.stdout.trim()).with_context(|| format!("`{command}` printed no report"))
}
