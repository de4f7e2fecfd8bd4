//! Logging to stderr, as text or JSON.

use std::io::IsTerminal;

use anyhow::anyhow;
use tracing_subscriber::EnvFilter;

use crate::cli::options::{LogFormat, ServeOptions};

/// Names of levels, as in `--log info`.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Starts logging for the whole process.
pub(super) fn start(options: &ServeOptions) -> anyhow::Result<()> {
    let filter = filter(&options.log)?;
    // Internal errors would be printed by a macro that panics if stderr cannot be written, as on a full disk.
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    let started = match options.log_format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow!("cannot start logging: {error}"))
}

/// Returns the filter. A word alone must be a level: [`EnvFilter`] would take a misspelt one as a target.
fn filter(text: &str) -> anyhow::Result<EnvFilter> {
    let words = text.split(',').map(str::trim).filter(|part| !part.contains(['=', '[']));
    let mut unknown = words.filter(|word| !LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word)));
    let filter = text.parse().ok().filter(|_| unknown.next().is_none());
    filter.ok_or_else(|| {
        anyhow!(
            "invalid --log '{text}': expected one of the levels {}, or targets with levels (server=debug,warn)",
            LEVELS.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_targets_with_levels_are_accepted() {
        for text in ["info", "WARN", "off", "server=debug,warn", "server::operation=debug, error"] {
            filter(text).unwrap();
        }
        for text in ["inof", "", "server", "server=inof", "info,warm", "=="] {
            let error = filter(text).unwrap_err().to_string();
            assert!(error.contains(&format!("'{text}'")) && error.contains("trace"), "{error}");
        }
    }
}
