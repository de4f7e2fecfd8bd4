//! The options that say when operations start.

use std::time::Duration;

use clap::ValueEnum;

use crate::cli::duration;
use crate::workload::{ArrivalProcess, ArrivalRate, Arrivals, Load};

/// When operations start.
#[derive(clap::Args)]
#[command(next_help_heading = "When operations start")]
pub(super) struct LoadArgs {
    /// Closed loop: mean pause before an operation; pauses are spread evenly over 0.5 to 1.5 times this.
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = duration::parse)]
    think_time: Duration,
    /// Open loop: so many operations of this process start, whatever became of those before; a number and one of /s,
    /// /m, /h, such as 200/s. Latencies count from when an operation should have started.
    #[arg(long, value_name = "RATE", conflicts_with = "think_time")]
    arrival_rate: Option<ArrivalRate>,
    /// How operations of an open loop follow each other.
    #[arg(long, value_enum, default_value = "poisson", requires = "arrival_rate")]
    arrivals: ArrivalProcessArg,
    /// The first operation of a constant rate starts so long after the start, so that clients can take turns.
    #[arg(long, value_name = "TIME", value_parser = duration::parse, requires = "arrival_rate")]
    arrival_offset: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ArrivalProcessArg {
    /// One gap after the other, all alike.
    Constant,
    /// Independent of each other, as people who don't know each other.
    Poisson,
}

impl LoadArgs {
    pub(super) fn load(&self) -> anyhow::Result<Load> {
        let Some(rate) = self.arrival_rate else { return Ok(Load::Closed { think_time: self.think_time }) };
        let process = match (self.arrivals, self.arrival_offset) {
            (ArrivalProcessArg::Constant, offset) => ArrivalProcess::Constant { offset: offset.unwrap_or_default() },
            (ArrivalProcessArg::Poisson, None) => ArrivalProcess::Poisson,
            (ArrivalProcessArg::Poisson, Some(_)) => anyhow::bail!(
                "--arrival-offset shifts a constant rate; clients whose arrivals are random need none. \
                 Add --arrivals constant, or leave it out"
            ),
        };
        Ok(Load::Open(Arrivals { rate, process }))
    }
}
