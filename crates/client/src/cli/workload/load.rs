//! Options of the load: closed or open loop.

use std::time::Duration;

use clap::ValueEnum;

use crate::cli::duration;
use crate::workload::{ArrivalProcess, ArrivalRate, Arrivals, Load};

/// When operations start.
#[derive(clap::Args)]
#[command(next_help_heading = "When operations start")]
pub(super) struct LoadArgs {
    /// Closed loop: mean think time before an operation (uniform from 0.5 to 1.5 times this)
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = duration::parse)]
    think_time: Duration,
    /// Open loop: start operations at this rate, regardless of response times ('200/s'; /s, /m or /h). Latency counts
    /// from the intended start
    #[arg(long, value_name = "RATE", conflicts_with = "think_time")]
    arrival_rate: Option<ArrivalRate>,
    /// Arrival process of an open loop
    #[arg(long, value_enum, default_value = "poisson", requires = "arrival_rate")]
    arrivals: ArrivalProcessArg,
    /// Constant arrivals: delay of the first one, so that clients can be interleaved
    #[arg(long, value_name = "TIME", value_parser = duration::parse, requires = "arrival_rate")]
    arrival_offset: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ArrivalProcessArg {
    /// Equal gaps.
    Constant,
    /// Exponentially distributed gaps.
    Poisson,
}

impl LoadArgs {
    pub(super) fn load(&self) -> anyhow::Result<Load> {
        let Some(rate) = self.arrival_rate else { return Ok(Load::Closed { think_time: self.think_time }) };
        let process = match (self.arrivals, self.arrival_offset) {
            (ArrivalProcessArg::Constant, offset) => ArrivalProcess::Constant { offset: offset.unwrap_or_default() },
            (ArrivalProcessArg::Poisson, None) => ArrivalProcess::Poisson,
            (ArrivalProcessArg::Poisson, Some(_)) => {
                anyhow::bail!("--arrival-offset requires --arrivals constant: random arrivals need no offset; omit it")
            }
        };
        Ok(Load::Open(Arrivals { rate, process }))
    }
}
