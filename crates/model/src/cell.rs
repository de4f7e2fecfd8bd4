//! The cell of a run, with its condition and seeds.

use serde::{Deserialize, Serialize};
use strum::{Display, IntoStaticStr, VariantArray};

use crate::condition::Condition;

/// Parameter of the link that differs between the cells of a sweep.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Display,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SweptParameter {
    /// Share of packets lost.
    Loss,
    /// Time added to each packet.
    Delay,
    /// Bits per second.
    Rate,
    /// Several parameters in one condition.
    Combined,
}

impl SweptParameter {
    /// Returns its name in CSV files and file names.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// One condition × one repetition: the unit that is measured and verified.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Id, unique in the run (`delay-50ms-r1`).
    pub id: String,
    /// Swept parameter.
    pub swept_parameter: SweptParameter,
    /// Value of the swept parameter, with its unit.
    pub value: String,
    /// The value as a number for axes: percent, milliseconds, kbit/s, or a combination's position in the list.
    pub magnitude: f64,
    /// Repetition, from 1.
    pub repetition: u32,
    /// Condition of the link.
    pub condition: Condition,
    /// Seed of the cell's packet drops.
    pub seed: u64,
    /// Seed of the workload: the same in all cells of a repetition, so that they differ in the condition only (common
    /// random numbers).
    pub workload_seed: u64,
}
