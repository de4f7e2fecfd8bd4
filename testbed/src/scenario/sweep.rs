//! The sweep: values of each swept parameter, and combined conditions.

use clap::{ArgAction, Args};
use model::{Condition, Delay, Loss, Rate};
use serde::{Deserialize, Serialize};

/// Swept values: each is a condition with this one impairment; and combined conditions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields, default)]
#[group(id = "sweep")]
#[command(next_help_heading = "Sweep")]
pub(crate) struct Sweep {
    /// Losses to sweep ('0,1,2%'); any flag for a condition replaces the scenario's whole sweep
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) loss: Vec<Loss>,
    /// Delays to sweep ('0,50ms,100ms')
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) delay: Vec<Delay>,
    /// Rate limits to sweep ('1Mbit,500kbit,100kbit')
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) rate: Vec<Rate>,
    /// Combined condition ('delay=50ms,loss=1%,rate=1Mbit'); may be repeated
    #[arg(long, value_name = "CONDITION", action = ArgAction::Append)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) combined: Vec<Condition>,
}

impl Sweep {
    /// Its key in scenario files, and the id of its group of flags.
    pub(crate) const KEY: &str = "sweep";
}
