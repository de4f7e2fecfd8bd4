//! Sending a file of text, in parts, while it is read.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use crate::messages::{Event, MAX_TEXT_BYTES};
use crate::utf8::whole_chars;

/// Answers a request for a file.
pub(super) async fn send(id: u64, path: &Path, events: &mpsc::Sender<Event>) {
    let sent = send_parts(id, path, events).await.with_context(|| format!("cannot send the file {}", path.display()));
    if let Err(error) = sent {
        // When events are no longer received the connection has ended, and so has this response.
        let _ = events.send(Event::Failed { id, why: format!("{error:#}") }).await;
    }
}

async fn send_parts(id: u64, path: &Path, events: &mpsc::Sender<Event>) -> anyhow::Result<()> {
    // Looked at before it is opened: opening a named pipe would wait for a writer.
    ensure!(tokio::fs::metadata(path).await?.is_file(), "it is not a file");
    let mut file = File::open(path).await?;
    let (mut buffer, mut kept, mut sent) = (vec![0; MAX_TEXT_BYTES], 0, 0);
    loop {
        let read = file.read(&mut buffer[kept..]).await?;
        let available = kept + read;
        let last = read == 0;
        let whole = if last { available } else { whole_chars(&buffer[..available]) };
        let text = match std::str::from_utf8(&buffer[..whole]) {
            Ok(text) => text.to_owned(),
            Err(error) => bail!("byte {} is not UTF-8; only text can be sent", sent + error.valid_up_to()),
        };
        events.send(Event::File { id, text, last }).await?;
        if last {
            return Ok(());
        }
        buffer.copy_within(whole..available, 0);
        (kept, sent) = (available - whole, sent + whole);
    }
}
