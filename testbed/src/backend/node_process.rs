//! A program running in a node: lines of its stdout, its stdin, its exit status.

use std::pin::Pin;
use std::time::Duration;

use anyhow::Context;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};

/// Exit code of a process; 128 + signal if a signal ended it.
pub(crate) type ExitStatus = i64;

/// A running program. Dropping it closes its stdin, which makes our programs stop.
pub(crate) struct NodeProcess {
    /// Command and node, for messages.
    name: String,
    /// Lines of its stdout; closed when stdout is closed.
    lines: mpsc::Receiver<String>,
    /// Its stdin; `None` once closed.
    stdin: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    /// Exit status, once it has ended.
    exit: watch::Receiver<Option<ExitStatus>>,
}

/// Splits a program's stdout into lines and sends them.
pub(crate) struct LineSender {
    lines: mpsc::Sender<String>,
    /// Bytes of the incomplete last line.
    partial: Vec<u8>,
}

impl LineSender {
    /// Creates a sender for a new stream.
    pub(crate) fn new(lines: mpsc::Sender<String>) -> Self {
        Self { lines, partial: Vec::new() }
    }

    /// Adds the next bytes of stdout, and sends the lines that they complete.
    pub(crate) async fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(&rest[..end]);
            self.send_partial().await;
            rest = &rest[end + 1..];
        }
        self.partial.extend_from_slice(rest);
    }

    /// Sends the incomplete last line, when stdout has ended.
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
    /// Creates the handle of a program whose streams a backend's tasks serve.
    pub(crate) fn new(
        name: String,
        lines: mpsc::Receiver<String>,
        stdin: Pin<Box<dyn AsyncWrite + Send>>,
        exit: watch::Receiver<Option<ExitStatus>>,
    ) -> Self {
        Self { name, lines, stdin: Some(stdin), exit }
    }

    /// Returns the next line of its stdout; `None` at the end.
    pub(crate) async fn next_line(&mut self) -> Option<String> {
        self.lines.recv().await
    }

    /// Returns the next line that is an event `T` as JSON; other lines are skipped.
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
    /// When it ends, or `limit` elapses, before that.
    pub(crate) async fn first_event<T: DeserializeOwned>(&mut self, limit: Duration) -> anyhow::Result<T> {
        match timeout(limit, self.next_event()).await {
            Ok(Some(event)) => Ok(event),
            Ok(None) => {
                let exit = timeout(Duration::from_secs(2), self.ended()).await;
                let code = exit.map_or_else(|_| "no exit code yet".to_owned(), |code| format!("exit code {code}"));
                anyhow::bail!("{} ended before it was ready ({code})", self.name)
            }
            Err(_) => anyhow::bail!("{} was not ready within {} s", self.name, limit.as_secs()),
        }
    }

    /// Writes a line to its stdin.
    pub(crate) async fn write_line(&mut self, line: &str) -> anyhow::Result<()> {
        let stdin = self.stdin.as_mut().with_context(|| format!("stdin of {} is closed", self.name))?;
        let text = format!("{line}\n");
        stdin.write_all(text.as_bytes()).await.with_context(|| format!("writing to stdin of {}", self.name))?;
        stdin.flush().await.with_context(|| format!("writing to stdin of {}", self.name))
    }

    /// Closes its stdin, which stops the testbed's programs.
    pub(crate) async fn close_stdin(&mut self) {
        if let Some(mut stdin) = self.stdin.take() {
            // Fails if the process has ended: its stdin is closed then.
            let _ = stdin.shutdown().await;
        }
    }

    /// Returns its exit status, if it has ended.
    pub(crate) fn exit_status(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Waits until it ends. Any number of tasks may wait.
    pub(crate) async fn ended(&self) -> ExitStatus {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await;
        // The sender is dropped only with the backend, which also ends the process.
        ended.ok().and_then(|status| *status).unwrap_or(-1)
    }

    /// Closes stdin and waits until it ends. Remaining lines are read, so that it does not block on a full pipe.
    ///
    /// # Errors
    /// When it is still running after `limit`.
    pub(crate) async fn stop(mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        self.close_stdin().await;
        let deadline = Instant::now() + limit;
        let name = self.name.clone();
        let drained = timeout_at(deadline, async {
            while self.next_line().await.is_some() {}
            self.ended().await
        });
        drained.await.with_context(|| format!("{name} did not stop within {} s", limit.as_secs()))
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
            let mut sender = LineSender::new(sender);
            for bytes in stream.chunks(step) {
                sender.push(bytes).await;
            }
            sender.finish().await;
            let mut received = Vec::new();
            while let Some(line) = lines.recv().await {
                received.push(line);
            }
            assert_eq!(received, ["one", "", "ü", "no end"], "in steps of {step}");
        }
    }
}
