//! Doing nothing until told to end: what keeps a client's container up between workloads, as its first process.

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Waits for SIGTERM or SIGINT. As a first process it also inherits orphans, so it collects children that ended.
///
/// # Errors
/// When signals can't be waited for.
pub fn wait_for_the_end() -> anyhow::Result<()> {
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD]);
    // Blocked first, else one that comes before the first wait would end the process or be lost.
    signals.thread_block()?;
    let arrivals = SignalFd::new(&signals)?;
    // Children that ended before that gave no signal.
    reap();
    while is_child_signal(&arrivals)? {
        reap();
    }
    Ok(())
}

fn is_child_signal(arrivals: &SignalFd) -> nix::Result<bool> {
    let arrived = arrivals.read_signal()?;
    Ok(arrived.is_none_or(|signal| i32::try_from(signal.ssi_signo) == Ok(Signal::SIGCHLD as i32)))
}

/// Collects every child that ended; several may stand behind one signal.
fn reap() {
    loop {
        match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
            Ok(_) | Err(_) => {}
        }
    }
}
