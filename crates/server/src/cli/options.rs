//! Flags and environment variables. `serve.rs` converts them to a `Config`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use model::HumanDuration;
use protocol::limits;

use crate::cli::NAME;
use crate::config::default;

/// Environment variable with the administrator's password. There is no flag, because all users of the host can read a
/// process's arguments.
pub(super) const ADMIN_PASSWORD_VARIABLE: &str = "SHOP_ADMIN_PASSWORD";

/// The shop: accounts and orders over TCP, stored in one SQLite file
#[derive(Debug, Parser)]
#[command(name = NAME, version = protocol::VERSION, args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
pub(super) struct Options {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) serve: ServeOptions,
}

const AFTER_HELP: &str = "\
Durations are a number with us, ms, s, m, h or d (30s).
The administrator's initial password comes from the environment variable SHOP_ADMIN_PASSWORD or from
--admin-password-file; without either it is generated when the account is created, and shown once on stderr.
On SIGTERM or SIGINT the server completes requests in flight and exits. Exit codes: 0 success, 1 error, 2 usage error.";

/// Subcommands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve the shop (default)
    Serve(Box<ServeOptions>),
    /// Check a database's consistency, even in use; print JSON; exit 1 if inconsistent
    Check(CheckOptions),
    /// Wait until a shop port responds to view_categories; exit 1 on timeout
    Ready(ReadyOptions),
}

/// Options of `serve`.
#[derive(Debug, Clone, Args)]
pub(super) struct ServeOptions {
    /// SQLite file; created if absent
    #[arg(long, env = "SHOP_DATABASE", default_value = default::DATABASE, value_name = "PATH")]
    pub(super) database: PathBuf,
    /// Listen here for register, login, logout and change_password; port 0 chooses a free one
    #[arg(long, env = "SHOP_ACCOUNTS_LISTEN", default_value_t = any(limits::ACCOUNTS_PORT), value_name = "IP:PORT")]
    pub(super) accounts_listen: SocketAddr,
    /// Listen here for all other commands; port 0 chooses a free one
    #[arg(long, env = "SHOP_SHOP_LISTEN", default_value_t = any(limits::SHOP_PORT), value_name = "IP:PORT")]
    pub(super) shop_listen: SocketAddr,
    /// Reply to UDP echo here, for `shop-client probe --udp` through a published port [default: disabled]
    #[arg(long, env = "SHOP_ECHO_LISTEN", value_name = "IP:PORT")]
    pub(super) echo_listen: Option<SocketAddr>,
    /// User name of the administrator; the account is created if absent
    #[arg(long, env = "SHOP_ADMIN_USERNAME", default_value = default::ADMIN_USERNAME, value_name = "NAME")]
    pub(super) admin_username: String,
    /// File with the administrator's initial password (a final line break is ignored)
    #[arg(long, env = "SHOP_ADMIN_PASSWORD_FILE", value_name = "FILE")]
    pub(super) admin_password_file: Option<PathBuf>,
    /// Products to add if the shop has none
    #[arg(long, env = "SHOP_CATALOGUE", value_enum, default_value_t = CatalogueName::Demo)]
    pub(super) catalogue: CatalogueName,
    /// Units of each product of the demo catalogue
    #[arg(long, env = "SHOP_CATALOGUE_STOCK", default_value_t = default::CATALOGUE_STOCK, value_name = "UNITS",
          value_parser = clap::value_parser!(i64).range(limits::STOCK))]
    pub(super) catalogue_stock: i64,
    /// How long a token is valid after login
    #[arg(long, env = "SHOP_TOKEN_LIFETIME", default_value_t = default::TOKEN_LIFETIME, value_name = "TIME", value_parser = HumanDuration::parse_positive)]
    pub(super) token_lifetime: HumanDuration,
    /// Memory of one Argon2id password hash, KiB (the defaults of all three costs are OWASP's minimum)
    #[arg(long, env = "SHOP_PASSWORD_MEMORY_KIB", default_value_t = default::PASSWORD_MEMORY_KIB, value_name = "KIB")]
    pub(super) password_memory_kib: u32,
    /// Passes of one password hash over its memory
    #[arg(long, env = "SHOP_PASSWORD_ITERATIONS", default_value_t = default::PASSWORD_ITERATIONS, value_name = "N")]
    pub(super) password_iterations: u32,
    /// Lanes of one password hash
    #[arg(long, env = "SHOP_PASSWORD_PARALLELISM", default_value_t = default::PASSWORD_PARALLELISM, value_name = "N")]
    pub(super) password_parallelism: u32,
    /// Threads that hash passwords; the default is half the cores, at least 1
    #[arg(long, env = "SHOP_PASSWORD_WORKERS", default_value_t = default::password_workers(), value_name = "N")]
    pub(super) password_workers: NonZeroUsize,
    /// Maximum number of password hashes waiting for a thread; further requests get 'overloaded'
    #[arg(long, env = "SHOP_PASSWORD_QUEUE", default_value_t = default::PASSWORD_QUEUE, value_name = "N")]
    pub(super) password_queue: NonZeroUsize,
    /// Maximum number of connections on both ports together; further ones get 'overloaded' and are closed
    #[arg(long, env = "SHOP_MAX_CONNECTIONS", default_value_t = default::MAX_CONNECTIONS, value_name = "N")]
    pub(super) max_connections: NonZeroUsize,
    /// Close a connection after this time without bytes
    #[arg(long, env = "SHOP_IDLE_TIMEOUT", default_value_t = default::IDLE_TIMEOUT, value_name = "TIME", value_parser = HumanDuration::parse_positive)]
    pub(super) idle_timeout: HumanDuration,
    /// Time from the first byte of a request within which it must be complete
    #[arg(long, env = "SHOP_REQUEST_TIMEOUT", default_value_t = default::REQUEST_TIMEOUT, value_name = "TIME", value_parser = HumanDuration::parse_positive)]
    pub(super) request_timeout: HumanDuration,
    /// Grace period of requests in flight after SIGTERM
    #[arg(long, env = "SHOP_SHUTDOWN_GRACE", default_value_t = default::SHUTDOWN_GRACE, value_name = "TIME", value_parser = HumanDuration::parse_positive)]
    pub(super) shutdown_grace: HumanDuration,
    /// Durability of acknowledged orders: they survive a crash of the host (full), or only of the server (normal, faster)
    #[arg(long, env = "SHOP_DURABILITY", value_enum, default_value_t = DurabilityName::Full)]
    pub(super) durability: DurabilityName,
    /// TCP congestion control of the shop's connections, such as cubic, bbr or reno [default: the host's]
    #[arg(long, env = "SHOP_CONGESTION_CONTROL", value_name = "NAME")]
    pub(super) congestion_control: Option<String>,
    /// Maximum number of writing requests in one transaction
    #[arg(long, env = "SHOP_MAX_BATCH", default_value_t = default::MAX_BATCH, value_name = "N")]
    pub(super) max_batch: NonZeroUsize,
    /// Write TCP statistics per response to this new CSV file; rename it to rotate [default: none]
    #[arg(long, env = "SHOP_TRACE", value_name = "FILE")]
    pub(super) trace: Option<PathBuf>,
    /// Log filter for stderr: a level, or targets with levels. 'info' logs the start and end of every connection, 'debug'
    /// every operation; both slow down a busy server
    #[arg(long, env = "SHOP_LOG", default_value = "info,server::connection=warn", value_name = "FILTER")]
    pub(super) log: String,
    /// Format of log lines
    #[arg(long, env = "SHOP_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(super) log_format: LogFormat,
}

/// Returns the address of a port on all IPv4 addresses.
fn any(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], port))
}

/// Options of `check`.
#[derive(Debug, Args)]
pub(super) struct CheckOptions {
    /// SQLite file
    #[arg(long, env = "SHOP_DATABASE", default_value = default::DATABASE, value_name = "PATH")]
    pub(super) database: PathBuf,
}

/// Options of `ready`.
#[derive(Debug, Args)]
pub(super) struct ReadyOptions {
    /// Address of the shop port
    #[arg(long, env = "SHOP_READY_ADDRESS", default_value = "127.0.0.1:5001", value_name = "HOST:PORT")]
    pub(super) address: String,
    /// Time until giving up
    #[arg(long, env = "SHOP_READY_TIMEOUT", default_value_t = HumanDuration::seconds(10), value_name = "TIME", value_parser = HumanDuration::parse_positive)]
    pub(super) timeout: HumanDuration,
}

/// Values of `--catalogue`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum CatalogueName {
    /// 60 fictional products in six categories
    Demo,
    /// No products
    None,
}

/// Values of `--durability`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum DurabilityName {
    /// Sync at every commit
    Full,
    /// Sync at checkpoints only
    Normal,
}

/// Values of `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// Text for people
    Text,
    /// JSON for programs
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Options::command().debug_assert();
    }

    #[test]
    fn every_setting_is_an_environment_variable_too() {
        let command = Options::command();
        for argument in command.get_arguments().chain(command.get_subcommands().flat_map(|sub| sub.get_arguments())) {
            let Some(long) = argument.get_long().filter(|long| !["help", "version"].contains(long)) else { continue };
            let variable = argument.get_env().unwrap_or_else(|| panic!("--{long} has no environment variable"));
            assert!(variable.to_string_lossy().ends_with(&long.replace('-', "_").to_uppercase()), "{variable:?}");
            assert!(variable.to_string_lossy().starts_with("SHOP_"));
        }
    }
}
