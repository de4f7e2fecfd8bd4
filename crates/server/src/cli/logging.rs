//! Logging to stderr, as text or JSON.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::cli::options::{LogFormat, ServeOptions};

/// Starts logging for the whole process.
pub(super) fn start(options: &ServeOptions) -> anyhow::Result<()> {
    let filter: EnvFilter = options.log.parse().with_context(|| {
        format!("invalid --log '{}': expected a level (info) or targets with levels (server=debug,warn)", options.log)
    })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match options.log_format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}
