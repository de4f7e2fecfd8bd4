//! A program that runs in a node while the driver does other things: its stdout line by line, its stdin, its end.

use std::pin::Pin;
use std::time::Duration;

use anyhow::Context;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};

/// How a process ended: its exit code, 128 + signal when a signal ended it.
pub(crate) type ExitStatus = i64;

/// A running program. Dropping it closes its stdin, which makes our programs stop.
pub(crate) struct NodeProcess {
    /// What it is, for messages.
    what: String,
    /// Its stdout's lines; closed when stdout is.
    lines: mpsc::Receiver<String>,
    /// Its stdin; `None` once closed.
    stdin: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    /// `Some` once it has ended.
    exit: watch::Receiver<Option<ExitStatus>>,
}

/// Cuts a program's stdout into lines and passes them on.
pub(crate) struct LineSender {
    lines: mpsc::Sender<String>,
    /// What followed the end of the last line.
    partial: Vec<u8>,
}

impl LineSender {
    /// Returns a sender that has read nothing yet.
    pub(crate) fn new(lines: mpsc::Sender<String>) -> Self {
        Self { lines, partial: Vec::new() }
    }

    /// Adds the next bytes of stdout, and passes on the lines that they complete.
    pub(crate) async fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(&rest[..end]);
            self.send_partial().await;
            rest = &rest[end + 1..];
        }
        self.partial.extend_from_slice(rest);
    }

    /// Passes on what follows the last line's end, when stdout has ended.
    pub(crate) async fn finish(mut self) {
        if !self.partial.is_empty() {
            self.send_partial().await;
        }
    }

    async fn send_partial(&mut self) {
        let line = String::from_utf8_lossy(&self.partial).trim_end().to_owned();
        self.partial.clear();
        // Without a receiver the stream is still drained, so that the program does not block.
        let _ = self.lines.send(line).await;
    }
}

impl NodeProcess {
    /// Puts together what an engine's tasks feed.
    pub(crate) fn new(
        what: String,
        lines: mpsc::Receiver<String>,
        stdin: Pin<Box<dyn AsyncWrite + Send>>,
        exit: watch::Receiver<Option<ExitStatus>>,
    ) -> Self {
        Self { what, lines, stdin: Some(stdin), exit }
    }

    /// The next line of its stdout; `None` when there will be none any more.
    pub(crate) async fn next_line(&mut self) -> Option<String> {
        self.lines.recv().await
    }

    /// The next line, as the JSON that our programs print. Lines that are no such JSON are skipped.
    pub(crate) async fn next_event<T: DeserializeOwned>(&mut self) -> Option<T> {
        while let Some(line) = self.next_line().await {
            if let Ok(event) = serde_json::from_str(&line) {
                return Some(event);
            }
        }
        None
    }

    /// Waits for its first event.
    ///
    /// # Errors
    /// When it ends, or `limit` passes, before that.
    pub(crate) async fn first_event<T: DeserializeOwned>(&mut self, limit: Duration) -> anyhow::Result<T> {
        match timeout(limit, self.next_event()).await {
            Ok(Some(event)) => Ok(event),
            Ok(None) => {
                let exit = timeout(Duration::from_secs(2), self.ended()).await;
                let code = exit.map_or_else(|_| "no exit code yet".to_owned(), |code| format!("exit code {code}"));
                anyhow::bail!("{} ended before it was ready ({code})", self.what)
            }
            Err(_) => anyhow::bail!("{} was not ready within {} s", self.what, limit.as_secs()),
        }
    }

    /// Sends a line to its stdin.
    pub(crate) async fn write_line(&mut self, line: &str) -> anyhow::Result<()> {
        let stdin = self.stdin.as_mut().with_context(|| format!("stdin of {} is closed", self.what))?;
        let text = format!("{line}\n");
        stdin.write_all(text.as_bytes()).await.with_context(|| format!("writing to stdin of {}", self.what))?;
        stdin.flush().await.with_context(|| format!("writing to stdin of {}", self.what))
    }

    /// Closes its stdin: our programs stop then.
    pub(crate) async fn close_stdin(&mut self) {
        if let Some(mut stdin) = self.stdin.take() {
            // A process that has gone already has closed it for us.
            let _ = stdin.shutdown().await;
        }
    }

    /// How it ended, if it has.
    pub(crate) fn exit_status(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Waits for its end; any number of tasks may.
    pub(crate) async fn ended(&self) -> ExitStatus {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await;
        // The task that knows the status is gone only when the engine is: the process is, too.
        ended.ok().and_then(|status| *status).unwrap_or(-1)
    }

    /// Closes stdin and waits; its remaining lines are read meanwhile so that it can't block on a full pipe.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub(crate) async fn stop(mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        self.close_stdin().await;
        let deadline = Instant::now() + limit;
        let what = self.what.clone();
        let drained = timeout_at(deadline, async {
            while self.next_line().await.is_some() {}
            self.ended().await
        });
        drained.await.with_context(|| format!("{what} did not stop within {} s", limit.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_do_not_depend_on_how_stdout_was_read() {
        let stream = "one\n\nü\r\nno end".as_bytes();
        for step in 1..=stream.len() {
            let (sender, mut lines) = mpsc::channel(stream.len());
            let mut cutter = LineSender::new(sender);
            for bytes in stream.chunks(step) {
                cutter.push(bytes).await;
            }
            cutter.finish().await;
            let mut received = Vec::new();
            while let Some(line) = lines.recv().await {
                received.push(line);
            }
            assert_eq!(received, ["one", "", "ü", "no end"], "in steps of {step}");
        }
    }
}
