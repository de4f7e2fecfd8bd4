//! What can be said on the command line or in the environment, literally. `serve.rs` makes a `Config` of it.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use protocol::limits;

use crate::cli::NAME;
use crate::config::default;
use model::HumanDuration;

/// The environment variable that holds the administrator's password; there is no flag, because everybody on the
/// host can see a process's arguments.
pub(super) const ADMIN_PASSWORD_VARIABLE: &str = "SHOP_ADMIN_PASSWORD";

/// The shop: accounts and orders over TCP, kept in one SQLite file.
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
The administrator's first password comes from the environment variable SHOP_ADMIN_PASSWORD or from
--admin-password-file; without either it is generated when the account is created, and shown once on stderr.
On SIGTERM or SIGINT requests that are in flight are finished. Exit codes: 0 success, 1 error, 2 usage error.";

/// What else the program does.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve the shop (default)
    Serve(Box<ServeOptions>),
    /// Check a database's consistency, even in use; print JSON; exit 1 if inconsistent
    Check(CheckOptions),
    /// Wait until a shop port answers view_categories; exit 1 on timeout
    Ready(ReadyOptions),
}

/// Settings of `serve`.
#[derive(Debug, Clone, Args)]
pub(super) struct ServeOptions {
    /// The SQLite file; made when absent
    #[arg(long, env = "SHOP_DATABASE", default_value = default::DATABASE, value_name = "PATH")]
    pub(super) database: PathBuf,
    /// Where register, login, logout and change_password are served; port 0 takes a free one
    #[arg(long, env = "SHOP_ACCOUNTS_LISTEN", default_value_t = any(limits::ACCOUNTS_PORT), value_name = "IP:PORT")]
    pub(super) accounts_listen: SocketAddr,
    /// Where all other commands are served; port 0 takes a free one
    #[arg(long, env = "SHOP_SHOP_LISTEN", default_value_t = any(limits::SHOP_PORT), value_name = "IP:PORT")]
    pub(super) shop_listen: SocketAddr,
    /// Where UDP echo is answered, for `shop-client probe --udp` through a published port (default: nowhere)
    #[arg(long, env = "SHOP_ECHO_LISTEN", value_name = "IP:PORT")]
    pub(super) echo_listen: Option<SocketAddr>,
    /// The administrator's user name; the account is made when absent
    #[arg(long, env = "SHOP_ADMIN_USERNAME", default_value = default::ADMIN_USERNAME, value_name = "NAME")]
    pub(super) admin_username: String,
    /// File with the administrator's first password (a line break at its end does not count)
    #[arg(long, env = "SHOP_ADMIN_PASSWORD_FILE", value_name = "FILE")]
    pub(super) admin_password_file: Option<PathBuf>,
    /// Catalogue of a shop without products
    #[arg(long, env = "SHOP_CATALOGUE", value_enum, default_value_t = CatalogueName::Demo)]
    pub(super) catalogue: CatalogueName,
    /// Units of each product of the demo catalogue
    #[arg(long, env = "SHOP_CATALOGUE_STOCK", default_value_t = default::CATALOGUE_STOCK, value_name = "UNITS",
          value_parser = clap::value_parser!(i64).range(limits::STOCK))]
    pub(super) catalogue_stock: i64,
    /// How long a token is valid after login
    #[arg(long, env = "SHOP_TOKEN_LIFETIME", default_value_t = default::TOKEN_LIFETIME, value_name = "TIME", value_parser = HumanDuration::parse_positive)]
    pub(super) token_lifetime: HumanDuration,
    /// Memory of one Argon2id password hash, KiB (default: OWASP's minimum, with the next two)
    #[arg(long, env = "SHOP_PASSWORD_MEMORY_KIB", default_value_t = default::PASSWORD_MEMORY_KIB, value_name = "KIB")]
    pub(super) password_memory_kib: u32,
    /// Passes of one password hash over its memory
    #[arg(long, env = "SHOP_PASSWORD_ITERATIONS", default_value_t = default::PASSWORD_ITERATIONS, value_name = "N")]
    pub(super) password_iterations: u32,
    /// Lanes of one password hash
    #[arg(long, env = "SHOP_PASSWORD_PARALLELISM", default_value_t = default::PASSWORD_PARALLELISM, value_name = "N")]
    pub(super) password_parallelism: u32,
    /// Threads that hash passwords (default: half the cores, at least 1)
    #[arg(long, env = "SHOP_PASSWORD_WORKERS", default_value_t = default::password_workers(), value_name = "N")]
    pub(super) password_workers: NonZeroUsize,
    /// Password hashes that may wait for a thread; one more is answered 'overloaded'
    #[arg(long, env = "SHOP_PASSWORD_QUEUE", default_value_t = default::PASSWORD_QUEUE, value_name = "N")]
    pub(super) password_queue: NonZeroUsize,
    /// Connections on both ports together; one more is answered 'overloaded' and closed
    #[arg(long, env = "SHOP_MAX_CONNECTIONS", default_value_t = default::MAX_CONNECTIONS, value_name = "N")]
    pub(super) max_connections: NonZeroUsize,
    /// A connection on which nothing moved for so long is closed
    #[arg(long, env = "SHOP_IDLE_TIMEOUT", default_value_t = default::IDLE_TIMEOUT, value_name = "TIME", value_parser = HumanDuration::parse_positive)]
    pub(super) idle_timeout: HumanDuration,
    /// A request must be complete so long after its first byte
    #[arg(long, env = "SHOP_REQUEST_TIMEOUT", default_value_t = default::REQUEST_TIMEOUT, value_name = "TIME", value_parser = HumanDuration::parse_positive)]
    pub(super) request_timeout: HumanDuration,
    /// How long requests in flight may take to finish after SIGTERM
    #[arg(long, env = "SHOP_SHUTDOWN_GRACE", default_value_t = default::SHUTDOWN_GRACE, value_name = "TIME", value_parser = HumanDuration::parse_positive)]
    pub(super) shutdown_grace: HumanDuration,
    /// What an acknowledged order survives: a crash of the host (full), or only of the server (normal, faster)
    #[arg(long, env = "SHOP_DURABILITY", value_enum, default_value_t = DurabilityName::Full)]
    pub(super) durability: DurabilityName,
    /// TCP congestion control of the shop's connections, such as cubic, bbr or reno (default: the host's)
    #[arg(long, env = "SHOP_CONGESTION_CONTROL", value_name = "NAME")]
    pub(super) congestion_control: Option<String>,
    /// Writing requests that share one transaction, at most
    #[arg(long, env = "SHOP_MAX_BATCH", default_value_t = default::MAX_BATCH, value_name = "N")]
    pub(super) max_batch: NonZeroUsize,
    /// Write TCP statistics per response to this new CSV file; rename it to rotate [default: none]
    #[arg(long, env = "SHOP_TRACE", value_name = "FILE")]
    pub(super) trace: Option<PathBuf>,
    /// What is logged on stderr: a level, or targets with levels. 'info' adds a line for every connection's start and
    /// end, 'debug' one for every operation; with many operations per second they slow the server down
    #[arg(long, env = "SHOP_LOG", default_value = "info,server::connection=warn", value_name = "FILTER")]
    pub(super) log: String,
    /// How log lines look
    #[arg(long, env = "SHOP_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(super) log_format: LogFormat,
}

/// A port on all IPv4 addresses.
fn any(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], port))
}

/// Settings of `check`.
#[derive(Debug, Args)]
pub(super) struct CheckOptions {
    /// The SQLite file
    #[arg(long, env = "SHOP_DATABASE", default_value = default::DATABASE, value_name = "PATH")]
    pub(super) database: PathBuf,
}

/// Settings of `ready`.
#[derive(Debug, Args)]
pub(super) struct ReadyOptions {
    /// The shop port to ask
    #[arg(long, env = "SHOP_READY_ADDRESS", default_value = "127.0.0.1:5001", value_name = "HOST:PORT")]
    pub(super) address: String,
    /// How long to try
    #[arg(long, env = "SHOP_READY_TIMEOUT", default_value_t = HumanDuration::seconds(10), value_name = "TIME", value_parser = HumanDuration::parse_positive)]
    pub(super) timeout: HumanDuration,
}

/// See `--catalogue`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum CatalogueName {
    /// Sixty invented products in six categories
    Demo,
    /// Nothing
    None,
}

/// See `--durability`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum DurabilityName {
    /// Synced at every commit
    Full,
    /// Synced now and then
    Normal,
}

/// See `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// For people
    Text,
    /// For programs
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
            let variable = argument.get_env().unwrap_or_else(|| panic!("--{long} has no variable"));
            assert!(variable.to_string_lossy().ends_with(&long.replace('-', "_").to_uppercase()), "{variable:?}");
            assert!(variable.to_string_lossy().starts_with("SHOP_"));
        }
    }
}
