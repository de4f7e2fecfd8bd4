//! Commands in a container, by exec with attached streams.

use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, bail};
use bollard::Docker;
use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use futures_util::{Stream, StreamExt};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::backend::node_process::{ExitStatus, LineSender, NodeProcess};
use crate::backend::{CommandOutput, NodeCommand};

/// Maximum number of unread lines of a process's stdout.
const MAX_UNREAD_LINES: usize = 1_024;

/// Number and interval of queries for an exit code: the daemon closes the streams before it reports the exit.
const EXIT_CODE_ATTEMPTS: (u32, Duration) = (100, Duration::from_millis(10));

type Streams = Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;
type Stdin = Pin<Box<dyn AsyncWrite + Send>>;

/// Runs a command and waits for its end.
pub(super) async fn run(docker: &Docker, container: &str, command: &NodeCommand) -> anyhow::Result<CommandOutput> {
    let (id, mut streams, _stdin) = start(docker, container, command, false).await?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some(output) = streams.next().await {
        match output? {
            LogOutput::StdErr { message } => stderr.extend_from_slice(&message),
            other => stdout.extend_from_slice(&other.into_bytes()),
        }
    }
    Ok(CommandOutput {
        code: exit_code(docker, &id).await?,
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    })
}

/// Starts a command. The returned task reads its streams until it ends.
pub(super) async fn spawn(
    docker: &Docker,
    container: &str,
    command: &NodeCommand,
    log: &Path,
) -> anyhow::Result<(NodeProcess, JoinHandle<()>)> {
    let log = tokio::fs::File::options().create(true).append(true).open(log).await.context("opening its log file")?;
    let (id, streams, stdin) = start(docker, container, command, true).await?;
    let (sender, lines) = mpsc::channel(MAX_UNREAD_LINES);
    let (exit_sender, exit) = watch::channel(None);
    let process = NodeProcess::new(format!("`{command}` in {container}"), lines, stdin, exit);
    let docker = docker.clone();
    let follower = tokio::spawn(async move {
        follow(streams, log, LineSender::new(sender)).await;
        // Without an exit code the container, and with it the process, has been removed.
        let status = exit_code(&docker, &id).await.unwrap_or(-1);
        let _ = exit_sender.send(Some(status));
    });
    Ok((process, follower))
}

async fn start(
    docker: &Docker,
    container: &str,
    command: &NodeCommand,
    with_stdin: bool,
) -> anyhow::Result<(String, Streams, Stdin)> {
    let mut command_line = vec![command.executable.name().to_owned()];
    command_line.extend(command.arguments.iter().cloned());
    let options = CreateExecOptions {
        attach_stdin: Some(with_stdin),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        env: Some(command.environment.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        cmd: Some(command_line),
        ..CreateExecOptions::default()
    };
    let id = docker.create_exec(container, options).await?.id;
    match docker.start_exec(&id, None::<StartExecOptions>).await? {
        StartExecResults::Attached { output, input } => Ok((id, output, input)),
        StartExecResults::Detached => bail!("the Docker daemon did not attach to the command"),
    }
}

/// Sends the lines of stdout to `lines` and writes stderr to the log.
async fn follow(mut streams: Streams, mut log: tokio::fs::File, mut lines: LineSender) {
    while let Some(output) = streams.next().await {
        match output {
            Err(error) => {
                let _ = log.write_all(format!("(the Docker daemon's stream failed: {error})\n").as_bytes()).await;
                break;
            }
            Ok(LogOutput::StdErr { message }) => {
                // A full disk must not stop the streams: the log is less important than the samples.
                let _ = log.write_all(&message).await;
            }
            Ok(other) => lines.push(&other.into_bytes()).await,
        }
    }
    lines.finish().await;
    let _ = log.flush().await;
}

async fn exit_code(docker: &Docker, id: &str) -> anyhow::Result<ExitStatus> {
    let (attempts, interval) = EXIT_CODE_ATTEMPTS;
    for _ in 0..attempts {
        if let Some(code) = docker.inspect_exec(id).await?.exit_code {
            return Ok(code);
        }
        tokio::time::sleep(interval).await;
    }
    bail!("the Docker daemon does not report the command's exit code")
}
