//! A queue of lines to write, bounded in bytes. Adding a line never waits: a `kill` must be read even while earlier
//! lines are stuck.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Maximum number of bytes in one queue: more than any burst of requests, and small enough for hundreds of queues.
pub(crate) const MAX_BYTES: usize = 8 * crate::messages::MAX_LINE_BYTES;

/// Bytes that a line counts in addition to its text, so that empty lines are bounded, too.
const LINE_OVERHEAD_BYTES: usize = 64;

/// Sending end of a queue.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    lines: mpsc::UnboundedSender<(String, OwnedSemaphorePermit)>,
    free_bytes: Arc<Semaphore>,
}

/// Receiving end of a queue.
#[derive(Debug)]
pub(crate) struct Receiver(mpsc::UnboundedReceiver<(String, OwnedSemaphorePermit)>);

/// Error: the line would exceed [`MAX_BYTES`], because the receiving end does not read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Returns an empty queue.
pub(crate) fn queue() -> (Sender, Receiver) {
    let (lines, receiver) = mpsc::unbounded_channel();
    (Sender { lines, free_bytes: Arc::new(Semaphore::new(MAX_BYTES)) }, Receiver(receiver))
}

impl Sender {
    /// Adds a line; discards it if the receiving end was dropped.
    pub(crate) fn push(&self, line: String) -> Result<(), Full> {
        let bytes = u32::try_from(line.len() + LINE_OVERHEAD_BYTES).map_err(|_| Full)?;
        let permit = Arc::clone(&self.free_bytes).try_acquire_many_owned(bytes).map_err(|_| Full)?;
        let _ = self.lines.send((line, permit));
        Ok(())
    }
}

impl Receiver {
    /// Returns the next line; `None` when all senders are dropped and no line is left. Cancellation safe.
    pub(crate) async fn next(&mut self) -> Option<String> {
        self.0.recv().await.map(|(line, _permit)| line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_rejects_lines_until_some_were_received() {
        let (sender, mut receiver) = queue();
        let line = "x".repeat(MAX_BYTES / 4 - LINE_OVERHEAD_BYTES);
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
    async fn without_a_receiver_lines_are_discarded() {
        let (sender, receiver) = queue();
        drop(receiver);
        for _ in 0..10 {
            assert_eq!(sender.push("x".repeat(MAX_BYTES / 2)), Ok(()));
        }
    }
}
