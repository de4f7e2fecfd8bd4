//! Sends the probe through the link: from the first client to the server's kernel and back.

use anyhow::Context;
use shop_client::probe::ProbeReport;

use crate::engine::{Engine, Node, NodeCommand};
use crate::probe::{BURST_PAYLOAD_BYTES, ECHO_PAYLOAD_BYTES, Measured, ProbePlan};
use crate::program::Program;

/// The node that probes.
pub(crate) const PROBER: Node = Node::Client(1);

/// Carries out a plan.
pub(crate) async fn probe(engine: &dyn Engine, plan: &ProbePlan) -> anyhow::Result<Measured> {
    let interval = format!("{}us", plan.interval_us);
    let count = plan.echoes.to_string();
    let size = ECHO_PAYLOAD_BYTES.to_string();
    let patience = format!("{}ms", plan.patience_ms);
    let small = ["--count", &count, "--interval", &interval, "--size", &size, "--timeout", &patience];
    let echoes = ask(engine, &small).await?;
    let burst = match plan.burst {
        Some(packets) => {
            let (packets, size) = (packets.to_string(), BURST_PAYLOAD_BYTES.to_string());
            Some(ask(engine, &["--burst", &packets, "--size", &size, "--timeout", &patience]).await?)
        }
        None => None,
    };
    Ok(Measured {
        sent: echoes.sent,
        received: echoes.received,
        rtt_median_ms: echoes.median_us.map(|microseconds| microseconds / 1_000.0),
        rate_bits_per_second: burst.and_then(|burst| burst.rate_bits_per_second),
    })
}

async fn ask(engine: &dyn Engine, options: &[&str]) -> anyhow::Result<ProbeReport> {
    let server = engine.server_address().to_string();
    let arguments = [&["probe", "--server", &server], options].concat();
    let command = NodeCommand::program(Program::ShopClient, arguments);
    let output = engine.exec(PROBER, &command).await?.success(&command)?;
    serde_json::from_str(output.stdout.trim()).with_context(|| format!("`{command}` printed no report"))
}
