//! Messages as lines of JSON on a stream: reading them with a limit to their length, and writing many at once.

use std::io;

use futures_util::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};

/// Most messages that are written in one go: one system call for many short lines.
const BATCH: usize = 64;

/// How much is read in one go.
const READ_BYTES: usize = 64 * 1024;

/// How much of a line that can't be understood is shown.
const SHOWN_CHARS: usize = 80;

/// Lines that come from `R`.
pub(crate) type Lines<R> = FramedRead<R, LinesCodec>;

/// Why no message could be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    #[error("a line is longer than {0} bytes")]
    TooLong(usize),
    #[error("reading failed")]
    Io(#[from] io::Error),
    #[error("the line `{start}` is not what is expected here; do both ends have the same version?")]
    NotUnderstood { start: String, source: serde_json::Error },
}

/// Reads lines of at most `max_bytes`.
pub(crate) fn lines<R: AsyncRead>(reader: R, max_bytes: usize) -> Lines<R> {
    FramedRead::with_capacity(reader, LinesCodec::new_with_max_length(max_bytes), READ_BYTES)
}

/// The next line, `None` at the end. Loses nothing when dropped while waiting.
pub(crate) async fn next_line<R: AsyncRead + Unpin>(lines: &mut Lines<R>) -> Result<Option<String>, LineError> {
    match lines.next().await.transpose() {
        Ok(line) => Ok(line),
        Err(LinesCodecError::Io(error)) => Err(error.into()),
        Err(LinesCodecError::MaxLineLengthExceeded) => Err(LineError::TooLong(lines.decoder().max_length())),
    }
}

/// The next message, `None` at the end. Empty lines are skipped.
pub(crate) async fn next_message<T, R>(lines: &mut Lines<R>) -> Result<Option<T>, LineError>
where
    T: DeserializeOwned,
    R: AsyncRead + Unpin,
{
    while let Some(line) = next_line(lines).await? {
        if !line.is_empty() {
            return parse(&line).map(Some);
        }
    }
    Ok(None)
}

/// The message in a line.
pub(crate) fn parse<T: DeserializeOwned>(line: &str) -> Result<T, LineError> {
    serde_json::from_str(line)
        .map_err(|source| LineError::NotUnderstood { start: line.chars().take(SHOWN_CHARS).collect(), source })
}

/// A message as a line with its end.
pub(crate) fn line_of(message: &impl Serialize) -> serde_json::Result<String> {
    let mut line = serde_json::to_string(message)?;
    line.push('\n');
    Ok(line)
}

/// Writes what comes through `queue` until all its senders are gone.
pub(crate) async fn write_messages<T, W>(queue: &mut mpsc::Receiver<T>, writer: &mut W) -> io::Result<()>
where
    T: Serialize,
    W: AsyncWrite + Unpin,
{
    let (mut messages, mut bytes) = (Vec::new(), Vec::new());
    while queue.recv_many(&mut messages, BATCH).await > 0 {
        bytes.clear();
        for message in messages.drain(..) {
            serde_json::to_writer(&mut bytes, &message)?;
            bytes.push(b'\n');
        }
        writer.write_all(&bytes).await?;
        writer.flush().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_come_back_and_empty_lines_are_passed_over() {
        let mut written = b"\n\n".to_vec();
        let (sender, mut queue) = mpsc::channel(1_000);
        for number in 0..1_000_u32 {
            sender.try_send(number).unwrap();
        }
        drop(sender);
        write_messages(&mut queue, &mut written).await.unwrap();
        let mut lines = lines(written.as_slice(), 10);
        for number in 0..1_000_u32 {
            assert_eq!(next_message(&mut lines).await.unwrap(), Some(number));
        }
        assert_eq!(next_message::<u32, _>(&mut lines).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_line_is_said() {
        for (bytes, expected) in [
            ("12345678901\n", "a line is longer than 10 bytes"),
            ("-1\n", "the line `-1` is not what is expected here; do both ends have the same version?"),
        ] {
            let error = next_message::<u32, _>(&mut lines(bytes.as_bytes(), 10)).await.unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }
}
