//! Processes on this host, optionally in network namespaces. They end with the driver.

use std::cell::RefCell;
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

/// Maximum number of unread lines of a process's stdout.
const MAX_UNREAD_LINES: usize = 1_024;

/// The long-running processes of all nodes.
#[derive(Default)]
pub(crate) struct LocalProcesses(RefCell<BTreeMap<Node, Vec<Running>>>);

/// A process started here.
struct Running {
    /// Process id. Valid while `exit` is `None`: the task that reaps the child sets `exit`.
    pid: Pid,
    /// Exit status, once it has ended.
    exit: watch::Receiver<Option<ExitStatus>>,
}

/// Runs a command until it ends, in a network namespace if one is given.
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
        &self,
        node: Node,
        command: &NodeCommand,
        namespace: Option<OwnedFd>,
        log: &Path,
    ) -> anyhow::Result<NodeProcess> {
        let log = File::options().create(true).append(true).open(log);
        let log = log.context("opening its log file")?;
        let mut prepared = prepare(command, namespace)?;
        let mut child = prepared.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn()?;
        let pid = child.id().context("it has ended already")?;
        let stdin = child.stdin.take().context("it has no stdin")?;
        let stdout = child.stdout.take().context("it has no stdout")?;
        let (sender, lines) = mpsc::channel(MAX_UNREAD_LINES);
        let (exit_sender, exit) = watch::channel(None);
        tokio::spawn(follow(child, stdout, sender, exit_sender));
        let pid = Pid::from_raw(i32::try_from(pid).context("its process id is too large")?);
        self.0.borrow_mut().entry(node).or_default().push(Running { pid, exit: exit.clone() });
        Ok(NodeProcess::new(format!("`{command}` in {node}"), lines, Box::pin(stdin), exit))
    }

    /// Kills all processes of a node and waits until they have ended.
    pub(crate) async fn kill(&self, node: Node) {
        let processes = self.0.borrow_mut().remove(&node).unwrap_or_default();
        for mut running in processes {
            if running.exit.borrow().is_none() {
                // It may have ended since the check above: then the signal has no effect.
                let _ = kill(running.pid, Signal::SIGKILL);
                let _ = running.exit.wait_for(Option::is_some).await;
            }
        }
    }

    /// Returns the user and system time of a node's running processes, from `/proc/PID/stat` (see proc(5)).
    pub(crate) fn cpu_time(&self, node: Node) -> anyhow::Result<Duration> {
        let per_second =
            sysconf(SysconfVar::CLK_TCK).ok().flatten().context("the duration of a clock tick is unknown")?;
        let processes = self.0.borrow();
        let running = processes.get(&node).into_iter().flatten().filter(|process| process.exit.borrow().is_none());
        let ticks: u64 = running.filter_map(|process| cpu_ticks(process.pid)).sum();
        Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
    }
}

/// Returns utime + stime, fields 14 and 15. The name before them may contain any character, but ends at the last
/// parenthesis.
fn cpu_ticks(pid: Pid) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = &stat[stat.rfind(')')? + 1..];
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Returns a process that ends with the driver and does not inherit settings of the shop's programs.
fn prepare(command: &NodeCommand, namespace: Option<OwnedFd>) -> anyhow::Result<Command> {
    let mut prepared = match command.executable {
        Executable::Program(program) => {
            let mut me = Command::new("/proc/self/exe");
            me.arg0(program.name());
            me
        }
        Executable::Installed(name) => Command::new(name),
    };
    // The shop's programs read settings from variables SHOP_…: those of the driver's environment are not the run's.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SHOP_")) {
        prepared.env_remove(name);
    }
    prepared.args(&command.arguments).envs(command.environment.iter().map(|(name, value)| (name, value)));
    tie_to_driver(&mut prepared, namespace);
    Ok(prepared)
}

/// Makes a process enter the namespace, if one is given, ignore signals of the terminal, and end with the driver.
pub(super) fn tie_to_driver(command: &mut Command, namespace: Option<OwnedFd>) {
    command.process_group(0).kill_on_drop(true);
    let driver = nix::unistd::getpid();
    // SAFETY: between fork and exec, only async-signal-safe functions run (setns, prctl, getppid); nothing allocates.
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

/// Sends the lines of stdout, reaps the process and sends its exit status.
async fn follow(
    mut child: Child,
    stdout: tokio::process::ChildStdout,
    sender: mpsc::Sender<String>,
    exit_sender: watch::Sender<Option<ExitStatus>>,
) {
    let reading = tokio::spawn(async move {
        let mut lines = BufReader::new(stdout).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            // Without a receiver the pipe is still drained, so that the process does not block.
            let _ = sender.send(line).await;
        }
    });
    let status = child.wait().await.map_or(-1, exit_code);
    let _ = exit_sender.send(Some(status));
    let _ = reading.await;
}

fn exit_code(status: std::process::ExitStatus) -> ExitStatus {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.map_or(-1, i64::from)
}
