//! Sends a program's output and its exit, and feeds its stdin.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::ChildStdin;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::NAME;
use crate::agent::program::Spawned;
use crate::agent::programs::Programs;
use crate::messages::{Event, MAX_CHUNK_BYTES};
use crate::queue::Receiver;

/// Timeout of each read after the program has exited: a process that left its process group may keep a stream open, but
/// its output is not the program's.
const LAST_READ_TIMEOUT: Duration = Duration::from_millis(500);

/// Sends a program's output until it has exited, then its exit code.
pub(super) async fn follow(
    id: u64,
    (mut spawned, finished): (Spawned, DropGuard),
    programs: Arc<Programs>,
    events: mpsc::Sender<Event>,
) {
    let exited = CancellationToken::new();
    let (stdout, stderr) = (spawned.child.stdout.take(), spawned.child.stderr.take());
    let wait = async {
        let status = spawned.child.wait().await;
        programs.reaped(id);
        exited.cancel();
        status.map_or(-1, exit_code)
    };
    let feed = async {
        if let Some((lines, stdin)) = spawned.input {
            exited.run_until_cancelled(write_lines(lines, stdin)).await;
        }
    };
    let (code, (), (), ()) = tokio::join!(
        wait,
        feed,
        send_stream(stdout, &exited, &events, |bytes| Event::Stdout { id, bytes }),
        send_stream(stderr, &exited, &events, |bytes| Event::Stderr { id, bytes }),
    );
    // Sending fails only if the connection has ended, which the session detects itself.
    if let Some(reason) = programs.remove(id) {
        let _ = events.send(Event::Stderr { id, bytes: format!("{NAME}: {reason}\n").into_bytes() }).await;
    }
    let _ = events.send(Event::Exited { id, code }).await;
    drop(finished);
}

/// Writes lines to stdin and closes it after the last one, or when the program has closed it.
async fn write_lines(mut lines: Receiver, mut stdin: ChildStdin) {
    while let Some(line) = lines.next().await {
        if stdin.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Sends each chunk of a stream as soon as it is read.
async fn send_stream(
    stream: Option<impl AsyncRead + Unpin>,
    exited: &CancellationToken,
    events: &mpsc::Sender<Event>,
    event: impl Fn(Vec<u8>) -> Event,
) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0; MAX_CHUNK_BYTES];
    loop {
        let read = match exited.run_until_cancelled(stream.read(&mut buffer)).await {
            Some(read) => Some(read),
            None => timeout(LAST_READ_TIMEOUT, stream.read(&mut buffer)).await.ok(),
        };
        // A read error ends the stream like its end does: the rest cannot be read.
        let Some(Ok(length @ 1..)) = read else { return };
        if events.send(event(buffer[..length].to_vec())).await.is_err() {
            return;
        }
    }
}

fn exit_code(status: ExitStatus) -> i64 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).map_or(-1, i64::from)
}
