//! Lines that wait to be written, bounded by their bytes. Adding a line never waits: the reader of requests must be
//! free for the next one, which may be the very `kill` that ends the jam.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Most bytes that may wait in one queue: more than any burst of commands, and still little for each of hundreds.
pub(crate) const LIMIT_BYTES: usize = 8 * crate::messages::MAX_LINE_BYTES;

/// A line's share of the limit on top of its text, so that empty lines are not free.
const LINE_BYTES: usize = 64;

/// The end that lines are put in at.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    lines: mpsc::UnboundedSender<(String, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
}

/// The end that they come out at.
#[derive(Debug)]
pub(crate) struct Receiver(mpsc::UnboundedReceiver<(String, OwnedSemaphorePermit)>);

/// More than [`LIMIT_BYTES`] would wait: the other end does not take them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Makes an empty queue.
pub(crate) fn queue() -> (Sender, Receiver) {
    let (lines, receiver) = mpsc::unbounded_channel();
    (Sender { lines, room: Arc::new(Semaphore::new(LIMIT_BYTES)) }, Receiver(receiver))
}

impl Sender {
    /// Adds a line. When lines are no longer written it is discarded.
    pub(crate) fn push(&self, line: String) -> Result<(), Full> {
        let bytes = u32::try_from(line.len() + LINE_BYTES).map_err(|_| Full)?;
        let share = Arc::clone(&self.room).try_acquire_many_owned(bytes).map_err(|_| Full)?;
        let _ = self.lines.send((line, share));
        Ok(())
    }
}

impl Receiver {
    /// The next line; `None` when all senders are gone and no line is left. Loses nothing when dropped while waiting.
    pub(crate) async fn next(&mut self) -> Option<String> {
        self.0.recv().await.map(|(line, _share)| line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_takes_lines_until_too_many_bytes_wait_and_again_when_some_are_taken() {
        let (sender, mut receiver) = queue();
        let line = "x".repeat(LIMIT_BYTES / 4 - LINE_BYTES);
        for _ in 0..4 {
            assert_eq!(sender.push(line.clone()), Ok(()));
        }
        assert_eq!(sender.push(String::new()), Err(Full));
        assert_eq!(receiver.next().await, Some(line));
        assert_eq!(sender.push("last".into()), Ok(()));
        drop(sender);
        let mut rest = Vec::new();
        while let Some(line) = receiver.next().await {
            rest.push(line.len());
        }
        assert_eq!((rest.len(), rest[3]), (4, 4));
    }

    #[tokio::test]
    async fn without_a_receiver_lines_are_forgotten() {
        let (sender, receiver) = queue();
        drop(receiver);
        for _ in 0..10 {
            assert_eq!(sender.push("x".repeat(LIMIT_BYTES / 2)), Ok(()));
        }
    }
}
