//! Flags and environment variables. `serve.rs` converts them to a `Config`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use model::settings::{Configured, Shop, Tls};
use model::units::PositiveDuration;
use protocol::limits;
use serde::{Deserialize, Serialize};

use crate::NAME;
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
    pub(super) serve: Configured<ServeOptions>,
}

const AFTER_HELP: &str = "\
Durations are a number with us, ms, s, m, h or d (30s).
The administrator's initial password comes from the environment variable SHOP_ADMIN_PASSWORD or from
--admin-password-file; an empty variable counts as absent. Without either it is generated when the account is created,
and shown once on stderr.
On SIGTERM or SIGINT the server responds to all requests that have arrived, within --shutdown-grace, and exits.
Exit codes: 0 success, 1 error, 2 usage error.";

/// Subcommands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve the shop (default)
    Serve(Box<Configured<ServeOptions>>),
    /// Check a database's consistency, even in use; print JSON; exit 1 if inconsistent
    Check(CheckOptions),
    /// Wait until a shop port responds to view_categories; exit 1 on timeout
    Ready(ReadyOptions),
    /// Print the metrics of a server that runs with --metrics-listen
    Metrics(MetricsOptions),
}

/// Options of `serve`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct ServeOptions {
    /// SQLite file; created if absent
    #[arg(long, default_value = default::DATABASE, value_name = "PATH")]
    pub database: PathBuf,
    /// Listen here for accounts (register, login, logout, change_password); port 0 chooses a free one
    #[arg(long, default_value_t = any(limits::ACCOUNTS_PORT), value_name = "IP:PORT")]
    pub accounts_listen: SocketAddr,
    /// Listen here for all other commands; port 0 chooses a free one
    #[arg(long, default_value_t = any(limits::SHOP_PORT), value_name = "IP:PORT")]
    pub shop_listen: SocketAddr,
    /// Reply to UDP echo here, for `shop-client probe --udp` through a published port [default: disabled]
    #[arg(long, value_name = "IP:PORT")]
    pub echo_listen: Option<SocketAddr>,
    /// Serve metrics in Prometheus' text format here, at /metrics [default: disabled]
    #[arg(long, value_name = "IP:PORT")]
    pub metrics_listen: Option<SocketAddr>,
    /// User name of the administrator; the account is created if absent
    #[arg(long, default_value = default::ADMIN_USERNAME, value_name = "NAME")]
    pub admin_username: String,
    /// File with the administrator's initial password (a final line break is ignored)
    #[arg(long, value_name = "FILE")]
    pub admin_password_file: Option<PathBuf>,
    /// Products to add if the shop has none
    #[arg(long, value_enum, default_value_t = CatalogueName::Demo)]
    pub catalogue: CatalogueName,
    /// Lifetime of a token after login
    #[arg(long, default_value_t = default::TOKEN_LIFETIME, value_name = "TIME")]
    pub token_lifetime: PositiveDuration,
    /// Settings that affect results
    #[command(flatten)]
    pub shop: Shop,
    /// Lanes of one password hash
    #[arg(long, default_value_t = default::PASSWORD_PARALLELISM, value_name = "N")]
    pub password_parallelism: u32,
    /// Threads that hash passwords; the default is half the cores, at least 1
    #[arg(long, default_value_t = default::password_workers(), value_name = "N", value_parser = at_least_one)]
    pub password_workers: NonZeroUsize,
    /// Maximum number of password hashes waiting for a thread; further requests get 'overloaded'
    #[arg(long, default_value_t = default::PASSWORD_QUEUE, value_name = "N", value_parser = at_least_one)]
    pub password_queue: NonZeroUsize,
    /// Failed logins of an account after which further ones must wait, 1 s to 60 s; an address may fail four times as
    /// often; 0 for no limit
    #[arg(long, default_value_t = default::MAX_FAILED_LOGINS, value_name = "N")]
    pub max_failed_logins: u32,
    /// Maximum number of connections on both ports together; further ones get 'overloaded' and are closed
    #[arg(long, default_value_t = default::MAX_CONNECTIONS, value_name = "N", value_parser = at_least_one)]
    pub max_connections: NonZeroUsize,
    /// Maximum number of connections of one address on both ports together; further ones get 'overloaded' and are closed
    /// [default: no other limit]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub max_connections_per_address: Option<NonZeroUsize>,
    /// Memory for requests and unread responses of all connections together, MiB. Each of --max-connections has 16 KiB of
    /// it; larger ones share the rest, at least 16 MiB. Beyond it, further large requests wait, and clients that do not
    /// read are disconnected
    #[arg(long, default_value_t = default::BUFFER_BUDGET_MIB, value_name = "MIB", value_parser = at_least_one)]
    pub buffer_budget_mib: NonZeroUsize,
    /// Close a new connection after this time without bytes, if --idle-timeout is not shorter
    #[arg(long, default_value_t = default::FIRST_REQUEST_TIMEOUT, value_name = "TIME")]
    pub first_request_timeout: PositiveDuration,
    /// Close a connection after this time without bytes
    #[arg(long, default_value_t = default::IDLE_TIMEOUT, value_name = "TIME")]
    pub idle_timeout: PositiveDuration,
    /// Time from the first byte of a request within which it must be complete
    #[arg(long, default_value_t = default::REQUEST_TIMEOUT, value_name = "TIME")]
    pub request_timeout: PositiveDuration,
    /// Grace period of requests in flight after SIGTERM
    #[arg(long, default_value_t = default::SHUTDOWN_GRACE, value_name = "TIME")]
    pub shutdown_grace: PositiveDuration,
    /// Log a warning with the components of each operation that takes the server this time or longer
    #[arg(long, default_value_t = default::SLOW_OPERATION, value_name = "TIME")]
    pub slow_operation: PositiveDuration,
    /// TCP congestion control of the shop's connections, such as cubic, bbr or reno [default: the host's]
    #[arg(long, value_name = "NAME")]
    pub congestion_control: Option<String>,
    /// Maximum number of writing requests in one transaction
    #[arg(long, default_value_t = default::MAX_BATCH, value_name = "N", value_parser = at_least_one)]
    pub max_batch: NonZeroUsize,
    /// With --tls: PEM file with the certificate and its chain [default: a certificate that the server makes and signs
    /// itself, in memory]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_certificate: Option<PathBuf>,
    /// PEM file with the private key of --tls-certificate
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub tls_key: Option<PathBuf>,
    /// Write TCP statistics per response to this new CSV file; rename it to rotate [default: none]
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Log filter for stderr: a level, or targets with levels. 'info' logs the start and end of every connection, 'debug'
    /// every operation; both slow down a busy server
    #[arg(long, default_value = "info,server::connection=warn", value_name = "FILTER")]
    pub log: String,
    /// Format of log lines
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// Returns the address of a port on all IPv4 addresses.
fn any(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], port))
}

/// Returns the command line. Each flag has an environment variable: `--max-batch` has `SHOP_MAX_BATCH`.
pub(super) fn command() -> clap::Command {
    with_variables(Options::command()).mut_subcommands(with_variables)
}

fn with_variables(command: clap::Command) -> clap::Command {
    command.mut_args(|arg| match (arg.get_long(), arg.get_env()) {
        (Some(long), None) => {
            let variable = format!("SHOP_{}", long.replace('-', "_").to_uppercase());
            arg.env(variable)
        }
        _ => arg,
    })
}

/// Options of `check`.
#[derive(Debug, Args)]
pub(super) struct CheckOptions {
    /// SQLite file
    #[arg(long, default_value = default::DATABASE, value_name = "PATH")]
    pub(super) database: PathBuf,
}

/// Options of `ready`.
#[derive(Debug, Args)]
pub(super) struct ReadyOptions {
    /// Address of the shop port
    #[arg(long, env = "SHOP_READY_ADDRESS", default_value = "127.0.0.1:5001", value_name = "HOST:PORT")]
    pub(super) address: String,
    /// Time until giving up
    #[arg(long, env = "SHOP_READY_TIMEOUT", default_value = "10s", value_name = "TIME")]
    pub(super) timeout: PositiveDuration,
    /// Connect by TLS, and accept every certificate: nothing secret is sent
    #[arg(long, value_enum, value_name = "VERSION", default_value = "off", num_args = 0..=1, require_equals = true,
          default_missing_value = "1.3")]
    pub(super) tls: Tls,
}

/// Options of `metrics`.
#[derive(Debug, Args)]
pub(super) struct MetricsOptions {
    /// Address of the metrics
    #[arg(long, env = "SHOP_METRICS_ADDRESS", default_value = "127.0.0.1:9464", value_name = "IP:PORT")]
    pub(super) address: SocketAddr,
}

/// Parses a number of things of which there must be one.
fn at_least_one(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "expected a whole number of at least 1".to_owned())
}

/// Values of `--catalogue`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum CatalogueName {
    /// 60 fictional products in six categories
    Demo,
    /// No products
    None,
}

/// Values of `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Text for people
    Text,
    /// JSON for programs
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn every_setting_is_an_environment_variable_too() {
        let command = command();
        for argument in command.get_arguments().chain(command.get_subcommands().flat_map(|sub| sub.get_arguments())) {
            let Some(long) = argument.get_long().filter(|long| !["help", "version"].contains(long)) else { continue };
            let variable = argument.get_env().unwrap_or_else(|| panic!("--{long} has no environment variable"));
            assert!(variable.to_string_lossy().ends_with(&long.replace('-', "_").to_uppercase()), "{variable:?}");
            assert!(variable.to_string_lossy().starts_with("SHOP_"));
        }
    }
}
