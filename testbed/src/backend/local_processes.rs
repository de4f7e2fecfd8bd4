//! Processes on this host, in namespaces or not: tied to the driver's life, ended by their ids.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};

use crate::backend::node_process::{ExitStatus, NodeProcess};
use crate::backend::{CommandOutput, Executable, Node, NodeCommand};

/// Lines of a process's stdout that may wait to be read.
const LINES_WAITING: usize = 1_024;

/// The long-running processes of all nodes.
#[derive(Default)]
pub(crate) struct LocalProcesses(BTreeMap<Node, Vec<Running>>);

/// One of them.
struct Running {
    /// Its process id, valid until `exit` says otherwise: the child is reaped in the same task that then tells.
    pid: Pid,
    /// `Some` once it has ended.
    exit: watch::Receiver<Option<ExitStatus>>,
}

/// Runs a command to its end, in a network namespace if one is given.
pub(crate) async fn run(command: &NodeCommand, namespace: Option<OwnedFd>) -> anyhow::Result<CommandOutput> {
    let mut prepared = prepare(command, namespace)?;
    let output = prepared.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).output().await?;
    Ok(CommandOutput {
        code: exit_code(output.status),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

impl LocalProcesses {
    /// Starts a command, in a network namespace if one is given.
    pub(crate) fn spawn(
        &mut self,
        node: Node,
        command: &NodeCommand,
        namespace: Option<OwnedFd>,
        log: &Path,
    ) -> anyhow::Result<NodeProcess> {
        let log = File::options().create(true).append(true).open(log);
        let log = log.context("opening its log file")?;
        let mut prepared = prepare(command, namespace)?;
        let mut child = prepared.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn()?;
        let pid = child.id().context("it ended at once")?;
        let stdin = child.stdin.take().context("it has no stdin")?;
        let stdout = child.stdout.take().context("it has no stdout")?;
        let (sender, lines) = mpsc::channel(LINES_WAITING);
        let (tell_exit, exit) = watch::channel(None);
        tokio::spawn(follow(child, stdout, sender, tell_exit));
        let pid = Pid::from_raw(i32::try_from(pid).context("its process id is too large")?);
        self.0.entry(node).or_default().push(Running { pid, exit: exit.clone() });
        Ok(NodeProcess::new(format!("`{command}` in {node}"), lines, Box::pin(stdin), exit))
    }

    /// Ends all processes of a node and waits until they are gone.
    pub(crate) async fn kill(&mut self, node: Node) {
        for mut running in self.0.remove(&node).unwrap_or_default() {
            if running.exit.borrow().is_none() {
                // It may end by itself between the look and the signal: it is gone either way.
                let _ = kill(running.pid, Signal::SIGKILL);
                let _ = running.exit.wait_for(Option::is_some).await;
            }
        }
    }

    /// User and system time of a node's living processes, from `/proc/PID/stat` (see proc(5)).
    pub(crate) fn cpu_time(&self, node: Node) -> anyhow::Result<Duration> {
        let per_second =
            sysconf(SysconfVar::CLK_TCK).ok().flatten().context("the length of a clock tick is unknown")?;
        let living = self.0.get(&node).into_iter().flatten().filter(|running| running.exit.borrow().is_none());
        let ticks: u64 = living.filter_map(|running| cpu_ticks(running.pid)).sum();
        Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
    }
}

/// utime + stime, fields 14 and 15; the name before them may hold anything, but ends at the last parenthesis.
fn cpu_ticks(pid: Pid) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = &stat[stat.rfind(')')? + 1..];
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// A command that is tied to the driver, with none of its settings.
fn prepare(command: &NodeCommand, namespace: Option<OwnedFd>) -> anyhow::Result<Command> {
    let mut prepared = match command.executable {
        Executable::Program(program) => {
            let mut me = Command::new("/proc/self/exe");
            me.arg0(program.name());
            me
        }
        Executable::Installed(name) => Command::new(name),
    };
    // The shop's programs take settings from SHOP_…: those of the driver's own environment are not the run's.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SHOP_")) {
        prepared.env_remove(name);
    }
    prepared.args(&command.arguments).envs(command.environment.iter().map(|(name, value)| (name, value)));
    tie_to_driver(&mut prepared, namespace);
    Ok(prepared)
}

/// Has the process enter the namespace if there is one, get no signals from the terminal and die with the driver.
pub(super) fn tie_to_driver(command: &mut Command, namespace: Option<OwnedFd>) {
    command.process_group(0).kill_on_drop(true);
    let driver = nix::unistd::getpid();
    // SAFETY: between fork and exec only async-signal-safe calls are made (setns, prctl, getppid), nothing allocates.
    unsafe {
        command.pre_exec(move || {
            if let Some(namespace) = &namespace {
                setns(namespace, CloneFlags::CLONE_NEWNET)?;
            }
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            // The driver may have died before the line above.
            if nix::unistd::getppid() != driver {
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
            Ok(())
        });
    }
}

/// Passes stdout on line by line, reaps the process and tells how it ended.
async fn follow(
    mut child: Child,
    stdout: tokio::process::ChildStdout,
    sender: mpsc::Sender<String>,
    tell_exit: watch::Sender<Option<ExitStatus>>,
) {
    let reading = tokio::spawn(async move {
        let mut lines = BufReader::new(stdout).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            // No reader is left: the pipe is drained so that the process does not block.
            let _ = sender.send(line).await;
        }
    });
    let status = child.wait().await.map_or(-1, exit_code);
    let _ = tell_exit.send(Some(status));
    let _ = reading.await;
}

fn exit_code(status: std::process::ExitStatus) -> ExitStatus {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.map_or(-1, i64::from)
}
