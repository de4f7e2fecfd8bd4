//! Ctrl-C, SIGTERM and SIGHUP: the first stops the run in good order, the second ends the driver at once.

use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::output::say;

/// Exit code of the second signal.
const EXIT_CODE: i32 = 130;

/// Signals this soon after the first belong to it: `timeout` and shells send one to the process and one to its group.
const SAME_WISH: Duration = Duration::from_millis(500);

/// A token that is cancelled at the first signal.
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
                    say("stopping: what was measured is saved, nodes are removed (again to stop at once)");
                }
                Some(moment) if moment.elapsed() < SAME_WISH => {}
                Some(_) => {
                    say("stopped at once; `testbed clean` removes what is left");
                    std::process::exit(EXIT_CODE);
                }
            }
        }
    });
    Ok(token)
}
