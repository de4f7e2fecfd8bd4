//! Sends the probe through the link: from the first client to the server and back.

use anyhow::{Context, bail};
use shaper::Condition;
use shop_client::probe::ProbeReport;

use crate::engine::{Engine, Node, NodeCommand};
use crate::probe::{BURST_PAYLOAD_BYTES, ECHO_PAYLOAD_BYTES, Measured, ProbePlan, Spread, Train, shows_unasked_rates};
use crate::program::Program;

/// The node that probes.
pub(crate) const PROBER: Node = Node::Client(1);

/// TCP handshakes that look for a proxy before the link: a few, since only the quickest counts.
const HANDSHAKES: &str = "5";
/// Longest wait for one of them.
const HANDSHAKE_PATIENCE: &str = "3s";

/// Carries out a plan for a condition.
pub(crate) async fn probe(engine: &dyn Engine, plan: &ProbePlan, asked: &Condition) -> anyhow::Result<Measured> {
    let patience = format!("{}ms", plan.patience_ms);
    let echoes = send(engine, plan.close, &patience).await?;
    let spaced = match plan.spaced {
        Some(train) => Some(send(engine, train, &patience).await?),
        None => None,
    };
    let burst = match plan.burst {
        Some(packets) => {
            let (packets, size) = (packets.to_string(), BURST_PAYLOAD_BYTES.to_string());
            Some(echo(engine, &["--burst", &packets, "--size", &size, "--timeout", &patience]).await?)
        }
        None => None,
    };
    let is_behind_a_port = engine.shop().echo_port.is_some() && !asked.delay.as_duration().is_zero();
    let handshakes = if is_behind_a_port { Some(handshakes(engine, engine.shop().shop_port).await?) } else { None };
    let milliseconds = |microseconds: f64| microseconds / 1_000.0;
    let spread = spaced.as_ref().and_then(|report| {
        let round_trips: Vec<f64> = report.rtt_us.iter().flatten().copied().map(milliseconds).collect();
        Spread::of(&round_trips, asked.jitter)
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
pub(crate) struct Floor {
    /// Median round trip, milliseconds.
    pub(crate) rtt_ms: f64,
    /// Whether a rate that nobody asked for is to be looked for: conditions are set by hand, and the link is fast.
    pub(crate) watches_the_rate: bool,
}

/// Measures the bare link.
///
/// # Errors
/// When nobody answers.
pub(crate) async fn floor(engine: &dyn Engine) -> anyhow::Result<Floor> {
    let bare = Condition::BASELINE;
    let is_by_hand = !engine.has_server();
    let plan = ProbePlan::for_condition(&bare);
    let plan = if is_by_hand { plan.watching_the_rate() } else { plan };
    let measured = probe(engine, &plan, &bare).await?;
    let shop = engine.shop();
    let rtt_ms = measured.rtt_median_ms.with_context(|| match shop.echo_port {
        None => "the server does not answer echo requests on the bare link".to_owned(),
        Some(port) => format!(
            "no answer from {} to echo requests on UDP port {port}: is it published and let through, and was the shop \
             started with --echo-listen (compose does)?",
            shop.host
        ),
    })?;
    Ok(Floor { rtt_ms, watches_the_rate: is_by_hand && shows_unasked_rates(&measured) })
}

/// Whether one of the shop's ports takes connections.
///
/// # Errors
/// When it doesn't.
pub(crate) async fn check_handshake(engine: &dyn Engine, port: u16) -> anyhow::Result<()> {
    let report = handshakes(engine, port).await?;
    if report.received == 0 {
        bail!("{}:{port} takes no connections: is it published and let through?", engine.shop().host);
    }
    Ok(())
}

/// Small echo requests at even intervals.
async fn send(engine: &dyn Engine, train: Train, patience: &str) -> anyhow::Result<ProbeReport> {
    let (count, interval) = (train.echoes.to_string(), format!("{}us", train.interval_us));
    let size = ECHO_PAYLOAD_BYTES.to_string();
    echo(engine, &["--count", &count, "--interval", &interval, "--size", &size, "--timeout", patience]).await
}

async fn echo(engine: &dyn Engine, options: &[&str]) -> anyhow::Result<ProbeReport> {
    match engine.shop().echo_port {
        None => ask(engine, options).await,
        Some(port) => ask(engine, &[&["--udp", &port.to_string()], options].concat()).await,
    }
}

async fn handshakes(engine: &dyn Engine, port: u16) -> anyhow::Result<ProbeReport> {
    let port = port.to_string();
    ask(engine, &["--tcp", &port, "--count", HANDSHAKES, "--interval", "0ms", "--timeout", HANDSHAKE_PATIENCE]).await
}

async fn ask(engine: &dyn Engine, options: &[&str]) -> anyhow::Result<ProbeReport> {
    let arguments = [&["probe", "--server", &engine.shop().host], options].concat();
    let command = NodeCommand::program(Program::ShopClient, arguments);
    let output = engine.exec(PROBER, &command).await?.success(&command)?;
    serde_json::from_str(output.stdout.trim()).with_context(|| format!("`{command}` printed no report"))
}
