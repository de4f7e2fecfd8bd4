//! Settings of the server's node.

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

/// Settings of the server's node, the same for every application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
#[group(id = "server")]
#[command(next_help_heading = "Server")]
pub struct Server {
    /// TCP congestion control of the server's connections ('cubic', 'bbr')
    // Required, because defaults differ between hosts. Not set on clients: a host may forbid it to containers and users,
    // and requests are small.
    #[arg(long, value_name = "NAME")]
    pub congestion_control: String,
    /// Segmentation offload on the server's interface; 'off' makes the emulator handle every wire packet separately
    #[arg(long, value_enum)]
    pub offloads: Offloads,
    /// Location of the database
    #[arg(long, value_enum)]
    pub storage: Storage,
}

/// Segmentation offload: whether a node sends GSO packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Offloads {
    /// The kernel's default: one packet may hold several TCP segments
    On,
    /// One TCP segment per packet
    Off,
}

/// Location of the application's database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Storage {
    /// A tmpfs: no commit waits for a disk
    Memory,
    /// The file system of the server's node
    Disk,
}
