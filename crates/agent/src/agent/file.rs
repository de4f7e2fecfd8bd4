//! Sends a file in chunks.

use std::path::Path;

use anyhow::{Context, ensure};
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use crate::messages::{Event, MAX_CHUNK_BYTES};

/// Sends the file at `path`, or the reason why it cannot be read.
pub(super) async fn send(id: u64, path: &Path, events: &mpsc::Sender<Event>) {
    let sent = send_chunks(id, path, events).await.with_context(|| format!("cannot send the file {}", path.display()));
    if let Err(error) = sent {
        // Sending fails only if the connection has ended, and the request with it.
        let _ = events.send(Event::Failed { id, reason: format!("{error:#}") }).await;
    }
}

async fn send_chunks(id: u64, path: &Path, events: &mpsc::Sender<Event>) -> anyhow::Result<()> {
    // Checked before opening: to open a named pipe would wait for a writer.
    ensure!(tokio::fs::metadata(path).await?.is_file(), "not a regular file");
    let mut file = File::open(path).await?;
    let mut buffer = vec![0; MAX_CHUNK_BYTES];
    loop {
        let length = file.read(&mut buffer).await?;
        let last = length == 0;
        events.send(Event::File { id, bytes: buffer[..length].to_vec(), last }).await?;
        if last {
            return Ok(());
        }
    }
}
