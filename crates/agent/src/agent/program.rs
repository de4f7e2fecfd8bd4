//! Starts a program in its own process group, so that it is killed with the agent.

use std::path::Path;
use std::process::Stdio;

use anyhow::Context;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::process::{Child, ChildStdin, Command};

use crate::queue::{Receiver, Sender, queue};

/// Program to start.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) program: String,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) has_stdin: bool,
}

/// Program that was started.
#[derive(Debug)]
pub(super) struct Spawned {
    /// Process id, also that of the process group.
    pub(super) pid: Pid,
    pub(super) child: Child,
    /// Queued lines for stdin, and stdin itself; `None` without stdin.
    pub(super) input: Option<(Receiver, ChildStdin)>,
}

impl Program {
    /// Starts the program. Also returns the queue of lines for its stdin, if it has one.
    pub(super) fn spawn(&self, work_dir: &Path) -> anyhow::Result<(Spawned, Option<Sender>)> {
        let mut child = self.command(work_dir).spawn().with_context(|| format!("cannot start `{}`", self.program))?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).context("the process has no id")?;
        let (sender, input) = match child.stdin.take() {
            Some(stdin) => {
                let (sender, receiver) = queue();
                (Some(sender), Some((receiver, stdin)))
            }
            None => (None, None),
        };
        Ok((Spawned { pid: Pid::from_raw(pid), child, input }, sender))
    }

    fn command(&self, work_dir: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(work_dir);
        // Programs do not need the secret of the hub.
        command.env_remove("TESTBED_TOKEN").envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(if self.has_stdin { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        let agent = nix::unistd::getpid();
        // SAFETY: between fork and exec only async-signal-safe calls are made (prctl, getppid), nothing allocates.
        unsafe {
            command.pre_exec(move || {
                nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
                // The agent may have died before the line above.
                if nix::unistd::getppid() != agent {
                    return Err(std::io::ErrorKind::BrokenPipe.into());
                }
                Ok(())
            });
        }
        command
    }
}
