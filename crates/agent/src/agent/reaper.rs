//! Reaps orphaned processes: as the first process of a container the agent inherits them.

use std::fs;
use std::sync::Arc;

use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use tokio::signal::unix::Signal;

use crate::agent::programs::Programs;

/// Collects orphans that ended, now and at each of these signals.
pub(super) async fn collect(mut child_ended: Signal, programs: Arc<Programs>) {
    loop {
        for orphan in of_this_process().into_iter().filter(|pid| !programs.has(*pid)) {
            // It may still run: then its end comes with another signal.
            let _ = waitpid(orphan, Some(WaitPidFlag::WNOHANG));
        }
        if child_ended.recv().await.is_none() {
            return;
        }
    }
}

/// The processes whose parent the first thread is. Empty on kernels that do not tell: then orphans stay as zombies.
fn of_this_process() -> Vec<Pid> {
    let me = std::process::id();
    let programs = fs::read_to_string(format!("/proc/{me}/task/{me}/children")).unwrap_or_default();
    programs.split_whitespace().filter_map(|pid| pid.parse().ok().map(Pid::from_raw)).collect()
}
