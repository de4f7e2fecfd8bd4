//! A program: started in a process group of its own and tied to the agent's life, its streams passed on, its end told.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::NAME;
use crate::agent::programs::Programs;
use crate::messages::{Event, MAX_TEXT_BYTES};
use crate::queue::{Receiver, Sender, queue};
use crate::utf8::{LineCutter, whole_chars};

/// How long after a program's end its streams may still be silent and open: something that left its process group holds
/// them, which says nothing of the program's.
const LAST_READ_TIMEOUT: Duration = Duration::from_millis(500);

/// What to start.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) program: String,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) has_stdin: bool,
}

/// A program that was started.
#[derive(Debug)]
pub(super) struct Spawned {
    /// Its process id and process group.
    pub(super) pid: Pid,
    child: Child,
    /// The lines that wait for its stdin, and its stdin.
    input: Option<(Receiver, ChildStdin)>,
}

impl Program {
    /// Starts it. Also returns where lines for its stdin go.
    pub(super) fn spawn(&self, work_dir: &Path) -> anyhow::Result<(Spawned, Option<Sender>)> {
        let mut child = self.command(work_dir).spawn().with_context(|| format!("cannot start `{}`", self.program))?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).context("it has no process id")?;
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
        // What lets in here is not the programs' business.
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

/// Passes on what a program says until it has ended, and then how.
pub(super) async fn follow(
    id: u64,
    (mut spawned, gone): (Spawned, DropGuard),
    programs: Arc<Programs>,
    events: mpsc::Sender<Event>,
) {
    let ended = CancellationToken::new();
    let (stdout, stderr) = (spawned.child.stdout.take(), spawned.child.stderr.take());
    let wait = async {
        let status = spawned.child.wait().await;
        programs.reaped(id);
        ended.cancel();
        status.map_or(-1, exit_code)
    };
    let feed = async {
        if let Some((lines, stdin)) = spawned.input {
            // A program that ended takes no more lines.
            ended.run_until_cancelled(write_lines(lines, stdin)).await;
        }
    };
    let (code, (), (), ()) =
        tokio::join!(wait, feed, send_lines(id, stdout, &ended, &events), send_text(id, stderr, &ended, &events));
    let last_words = programs.remove(id);
    // When events are no longer received the connection has ended, which the session is about to notice.
    if !last_words.is_empty() {
        let _ = events.send(Event::Stderr { id, text: format!("{NAME}: {last_words}\n") }).await;
    }
    let _ = events.send(Event::Exited { id, code }).await;
    drop(gone);
}

/// Writes lines to stdin, and closes it behind the last one or when the program has closed it.
async fn write_lines(mut lines: Receiver, mut stdin: ChildStdin) {
    while let Some(line) = lines.next().await {
        if stdin.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Sends stdout line by line.
async fn send_lines(
    id: u64,
    mut stdout: Option<impl AsyncRead + Unpin>,
    ended: &CancellationToken,
    events: &mpsc::Sender<Event>,
) {
    let (mut cutter, mut buffer) = (LineCutter::default(), vec![0; MAX_TEXT_BYTES]);
    let event = |piece: crate::utf8::Piece| Event::Stdout { id, line: piece.text, continues: piece.continues };
    while let Some(bytes) = read(&mut stdout, &mut buffer, ended).await {
        cutter.push(bytes);
        while let Some(piece) = cutter.next() {
            if events.send(event(piece)).await.is_err() {
                return;
            }
        }
    }
    if let Some(piece) = cutter.rest() {
        let _ = events.send(event(piece)).await;
    }
}

/// Sends stderr as it comes.
async fn send_text(
    id: u64,
    mut stderr: Option<impl AsyncRead + Unpin>,
    ended: &CancellationToken,
    events: &mpsc::Sender<Event>,
) {
    let event = |bytes: &[u8]| Event::Stderr { id, text: String::from_utf8_lossy(bytes).into_owned() };
    // Room for the bytes of a character that is not complete yet.
    let (mut waiting, mut buffer) = (Vec::new(), vec![0; MAX_TEXT_BYTES - 4]);
    while let Some(bytes) = read(&mut stderr, &mut buffer, ended).await {
        waiting.extend_from_slice(bytes);
        let whole: Vec<u8> = waiting.drain(..whole_chars(&waiting)).collect();
        if !whole.is_empty() && events.send(event(&whole)).await.is_err() {
            return;
        }
    }
    if !waiting.is_empty() {
        let _ = events.send(event(&waiting)).await;
    }
}

/// What comes next from a stream; `None` at its end.
async fn read<'a>(
    stream: &mut Option<impl AsyncRead + Unpin>,
    buffer: &'a mut [u8],
    ended: &CancellationToken,
) -> Option<&'a [u8]> {
    let stream = stream.as_mut()?;
    let read = match ended.run_until_cancelled(stream.read(buffer)).await {
        Some(read) => read,
        None => timeout(LAST_READ_TIMEOUT, stream.read(buffer)).await.ok()?,
    };
    // A pipe that can't be read says as little as one that has ended.
    let bytes = read.ok().filter(|bytes| *bytes > 0)?;
    Some(&buffer[..bytes])
}

fn exit_code(status: ExitStatus) -> i64 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).map_or(-1, i64::from)
}
