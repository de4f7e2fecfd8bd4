//! Settings of an experiment. Each is declared once: its type with its bounds, its key in files, its flag, its help text
//! and the default of the program outside a run. Scenario files, command lines, manifests and the
//! configuration that the driver passes to a program share these structs.

mod flags;
mod server;
mod shop;
mod workload;

pub use flags::{Configured, Flags, defaults};
pub use server::{Offloads, Server, Storage};
pub use shop::{Durability, Shop, Tls, TlsVersion};
pub use workload::{Accounts, ArrivalProcess, ConnectionMode, Workload};

use clap::ValueEnum;

/// Returns the name of a setting's value in files and flags.
#[must_use]
pub fn value_name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
