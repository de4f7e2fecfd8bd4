//! The running programs by the driver's ids: input, kill, and waiting for all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{bail, ensure};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::agent::program::Spawned;
use crate::queue::{Full, Sender};

/// All running programs.
#[derive(Debug, Default)]
pub(super) struct Programs {
    running: Mutex<HashMap<u64, Running>>,
    /// One more reference for each [`StartsBlocked`].
    blocks: Arc<()>,
}

/// One running program.
#[derive(Debug)]
struct Running {
    /// Process group, which has the id of the process; `None` after it was reaped, when the kernel may reuse the id.
    group: Option<Pid>,
    /// Queue of lines for stdin; `None` once closed.
    input: Option<Sender>,
    /// Reason for which the agent itself killed the program.
    kill_reason: Option<&'static str>,
    /// Cancelled when all events of the program were sent.
    finished: CancellationToken,
}

/// Guard that prevents programs from being started.
pub(super) struct StartsBlocked(#[expect(dead_code, reason = "held for its count")] Arc<()>);

impl Programs {
    /// Registers the program that `spawn` starts, unless starts are blocked.
    pub(super) fn start(
        &self,
        id: u64,
        spawn: impl FnOnce() -> anyhow::Result<(Spawned, Option<Sender>)>,
    ) -> anyhow::Result<(Spawned, DropGuard)> {
        ensure!(Arc::strong_count(&self.blocks) == 1, "a reset is in flight: start programs after it is done");
        let mut running = self.running();
        if running.contains_key(&id) {
            bail!("id {id} belongs to a running program: use another");
        }
        let (spawned, input) = spawn()?;
        let finished = CancellationToken::new();
        running.insert(id, Running { group: Some(spawned.pid), input, kill_reason: None, finished: finished.clone() });
        Ok((spawned, finished.drop_guard()))
    }

    /// Queues a line for a program's stdin; ignores it if the program does not run or has no open stdin.
    pub(super) fn input(&self, id: u64, line: String) -> Result<(), Full> {
        let running = self.running();
        running.get(&id).and_then(|program| program.input.as_ref()).map_or(Ok(()), |input| input.push(line))
    }

    /// Closes a program's stdin after the queued lines.
    pub(super) fn close_input(&self, id: u64) {
        if let Some(program) = self.running().get_mut(&id) {
            program.input = None;
        }
    }

    /// Kills a program's process group.
    pub(super) fn kill(&self, id: u64) {
        if let Some(program) = self.running().get(&id) {
            program.kill();
        }
    }

    /// Kills a program's process group for a reason that [`Self::remove`] returns.
    pub(super) fn kill_because(&self, id: u64, reason: &'static str) {
        if let Some(program) = self.running().get_mut(&id) {
            program.kill_reason = Some(reason);
            program.kill();
        }
    }

    /// Kills all process groups.
    pub(super) fn kill_all(&self) {
        self.running().values().for_each(Running::kill);
    }

    /// Kills the rest of a program's process group. Must be called directly after the program was reaped, before the
    /// kernel can reuse its id.
    pub(super) fn reaped(&self, id: u64) {
        if let Some(program) = self.running().get_mut(&id) {
            program.kill();
            program.group = None;
            program.input = None;
        }
    }

    /// Removes a program, and returns why the agent itself killed it.
    pub(super) fn remove(&self, id: u64) -> Option<&'static str> {
        self.running().remove(&id)?.kill_reason
    }

    /// Waits until all events of the programs that run now were sent.
    pub(super) async fn all_finished(&self) {
        let all: Vec<CancellationToken> = self.running().values().map(|program| program.finished.clone()).collect();
        for finished in all {
            finished.cancelled().await;
        }
    }

    /// Prevents programs from being started until the guard is dropped.
    pub(super) fn block_starts(&self) -> StartsBlocked {
        StartsBlocked(Arc::clone(&self.blocks))
    }

    fn running(&self) -> MutexGuard<'_, HashMap<u64, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn kill(&self) {
        if let Some(group) = self.group {
            // Fails only if the group has just ended.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}
