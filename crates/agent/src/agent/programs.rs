//! The programs that run here, by the driver's ids, and what can be done to them at once.

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
    /// Held by everyone who wants nothing to be started now.
    closed: Arc<()>,
}

/// One of them.
#[derive(Debug)]
struct Running {
    /// Its process group, which has its process id; `None` once it is reaped and the number may be another's.
    group: Option<Pid>,
    /// Lines for its stdin; `None` once closed.
    input: Option<Sender>,
    /// Why it was killed by other than the driver's wish.
    kill_reason: Option<&'static str>,
    /// Cancelled when everything about it was told.
    gone: CancellationToken,
}

/// Keeps programs from being started while it lives.
pub(super) struct Closed(#[expect(dead_code, reason = "held for its count")] Arc<()>);

impl Programs {
    /// Enters what `spawn` starts, if something may be started.
    pub(super) fn start(
        &self,
        id: u64,
        spawn: impl FnOnce() -> anyhow::Result<(Spawned, Option<Sender>)>,
    ) -> anyhow::Result<(Spawned, DropGuard)> {
        ensure!(
            Arc::strong_count(&self.closed) == 1,
            "a reset is in flight; wait for its end before starting programs"
        );
        let mut running = self.running();
        if running.contains_key(&id) {
            bail!("id {id} is that of a running program; choose another");
        }
        let (spawned, input) = spawn()?;
        let gone = CancellationToken::new();
        running.insert(id, Running { group: Some(spawned.pid), input, kill_reason: None, gone: gone.clone() });
        Ok((spawned, gone.drop_guard()))
    }

    /// Hands a line to a program's stdin; forgets it when there is none.
    pub(super) fn input(&self, id: u64, line: String) -> Result<(), Full> {
        let running = self.running();
        running.get(&id).and_then(|child| child.input.as_ref()).map_or(Ok(()), |input| input.push(line))
    }

    /// Closes a program's stdin behind the lines that wait.
    pub(super) fn close_input(&self, id: u64) {
        if let Some(child) = self.running().get_mut(&id) {
            child.input = None;
        }
    }

    /// Kills a program's process group.
    pub(super) fn kill(&self, id: u64) {
        if let Some(child) = self.running().get(&id) {
            child.kill();
        }
    }

    /// Kills a program's process group without having been asked to.
    pub(super) fn kill_because(&self, id: u64, why: &'static str) {
        if let Some(child) = self.running().get_mut(&id) {
            child.kill_reason = Some(why);
        }
        self.kill(id);
    }

    /// Kills all process groups.
    pub(super) fn kill_all(&self) {
        self.running().values().for_each(Running::kill);
    }

    /// Says that a program has just been reaped: the rest of its group goes, too. Called without a pause after reaping,
    /// while no other process can have got the number.
    pub(super) fn reaped(&self, id: u64) {
        if let Some(child) = self.running().get_mut(&id) {
            child.kill();
            child.group = None;
            child.input = None;
        }
    }

    /// Takes out a program of which everything was told but its last words.
    pub(super) fn remove(&self, id: u64) -> Option<&'static str> {
        self.running().remove(&id)?.kill_reason
    }

    /// Waits until everything was told about all that run now.
    pub(super) async fn all_gone(&self) {
        let all: Vec<CancellationToken> = self.running().values().map(|child| child.gone.clone()).collect();
        for gone in all {
            gone.cancelled().await;
        }
    }

    /// Keeps programs from being started as long as the result lives.
    pub(super) fn close_to_newcomers(&self) -> Closed {
        Closed(Arc::clone(&self.closed))
    }

    fn running(&self) -> MutexGuard<'_, HashMap<u64, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn kill(&self) {
        if let Some(group) = self.group {
            // It may have ended in this moment: gone either way.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}
