//! Messages as JSON lines of bounded length on a stream.

use std::io;

use futures_util::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};

/// Maximum number of messages in one system call.
const MAX_BATCH: usize = 64;

/// Initial size of the read buffer.
const READ_BYTES: usize = 64 * 1024;

/// Maximum length of an invalid line's start in an error.
const MAX_SHOWN_CHARS: usize = 80;

/// Lines of a reader `R`.
pub(crate) type Lines<R> = FramedRead<R, LinesCodec>;

/// Error of reading a message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    #[error("a line exceeds {0} bytes")]
    TooLong(usize),
    #[error("cannot read")]
    Io(#[from] io::Error),
    #[error("invalid line `{start}`: do both ends have the same version?")]
    Invalid { start: String, source: serde_json::Error },
}

/// Returns the lines of `reader`, of at most `max_bytes` each.
pub(crate) fn lines<R: AsyncRead>(reader: R, max_bytes: usize) -> Lines<R> {
    FramedRead::with_capacity(reader, LinesCodec::new_with_max_length(max_bytes), READ_BYTES)
}

/// Returns the next line, `None` at the end. Cancellation safe.
pub(crate) async fn next_line<R: AsyncRead + Unpin>(lines: &mut Lines<R>) -> Result<Option<String>, LineError> {
    match lines.next().await.transpose() {
        Ok(line) => Ok(line),
        Err(LinesCodecError::Io(error)) => Err(error.into()),
        Err(LinesCodecError::MaxLineLengthExceeded) => Err(LineError::TooLong(lines.decoder().max_length())),
    }
}

/// Returns the next message, `None` at the end. Empty lines are skipped.
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

/// Parses the message in a line.
pub(crate) fn parse<T: DeserializeOwned>(line: &str) -> Result<T, LineError> {
    serde_json::from_str(line)
        .map_err(|source| LineError::Invalid { start: line.chars().take(MAX_SHOWN_CHARS).collect(), source })
}

/// Returns a message as a line with its end.
pub(crate) fn line_of(message: &impl Serialize) -> serde_json::Result<String> {
    let mut line = serde_json::to_string(message)?;
    line.push('\n');
    Ok(line)
}

/// Writes the messages of `queue` until all its senders are dropped.
pub(crate) async fn write_messages<T, W>(queue: &mut mpsc::Receiver<T>, writer: &mut W) -> io::Result<()>
where
    T: Serialize,
    W: AsyncWrite + Unpin,
{
    let (mut messages, mut bytes) = (Vec::new(), Vec::new());
    while queue.recv_many(&mut messages, MAX_BATCH).await > 0 {
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
    async fn messages_round_trip_and_empty_lines_are_skipped() {
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
    async fn an_invalid_line_is_an_error_that_says_why() {
        for (bytes, expected) in [
            ("12345678901\n", "a line exceeds 10 bytes"),
            ("-1\n", "invalid line `-1`: do both ends have the same version?"),
        ] {
            let error = next_message::<u32, _>(&mut lines(bytes.as_bytes(), 10)).await.unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }
}
