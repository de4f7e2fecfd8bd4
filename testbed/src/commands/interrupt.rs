//! Ctrl-C, SIGTERM and SIGHUP: the first signal stops the run gracefully, the second exits immediately.

use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::output::print_status;

/// Exit code of the second signal.
const EXIT_CODE: i32 = 130;

/// Signals this soon after the first count as the same one: `timeout` and shells signal the process and its group.
const DUPLICATE_WINDOW: Duration = Duration::from_millis(500);

/// Returns a token that is cancelled at the first signal.
///
/// # Errors
/// A signal handler cannot be installed.
pub(super) fn listen() -> anyhow::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut hang_up = signal(SignalKind::hangup()).context("listening for SIGHUP")?;
    let cancelled = token.clone();
    tokio::spawn(async move {
        let mut first: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
            }
            match first {
                None => {
                    first = Some(Instant::now());
                    cancelled.cancel();
                    print_status("stopping: saving results and removing nodes (interrupt again to exit immediately)");
                }
                Some(first) if first.elapsed() < DUPLICATE_WINDOW => {}
                Some(_) => {
                    print_status("exiting immediately; remove stale resources with `testbed clean`");
                    std::process::exit(EXIT_CODE);
                }
            }
        }
    });
    Ok(token)
}
