//! Checkpoint thread: copies the write-ahead log into the database file, so that no commit waits for it.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use crate::error::ServerError;
use crate::store::schema::open_for_checkpoints;

/// Size of the log that starts a checkpoint, in pages of 4 KiB: 4 MiB, SQLite's own default.
const CHECKPOINT_PAGES: usize = 1000;

/// Write-ahead log, as writer and checkpoint thread share it.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Pages after the last commit.
    pub(super) pages: AtomicUsize,
    /// Held during a checkpoint: SQLite refuses a second one instead of waiting.
    pub(super) checkpoint: Mutex<()>,
}

/// Running checkpoint thread. It ends after the writer's connection, which must be closed first; dropping waits for it.
#[derive(Debug)]
pub(super) struct Checkpointer {
    /// `None` only during the drop.
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// Starts the thread for the commits of `writer`. Also returns the log.
    pub(super) fn start(path: &Path, writer: &mut Connection) -> Result<(Self, Arc<Log>), ServerError> {
        let failed = |cause| ServerError::database(path, "checkpoints", cause);
        let connection = open_for_checkpoints(path)?;
        let (wake, woken) = channel();
        let log = Arc::<Log>::default();
        let (hooked, checkpointed) = (Arc::clone(&log), Arc::clone(&log));
        let hook = move |_: &mut Wal, pages: std::ffi::c_int| {
            let pages = usize::try_from(pages).unwrap_or_default();
            hooked.pages.store(pages, Ordering::Relaxed);
            if pages >= CHECKPOINT_PAGES {
                // Fails only after the end of the thread.
                let _ = wake.send(());
            }
            Ok(())
        };
        writer.wal_hook(Some(hook)).map_err(failed)?;
        let thread = std::thread::Builder::new()
            .name("checkpoints".to_owned())
            .spawn(move || run(&connection, &woken, &checkpointed))
            .map_err(|error| ServerError::System { step: "threads for the database", reason: error.to_string() })?;
        Ok((Self { thread: Some(thread) }, log))
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the checkpoint thread panicked");
        }
    }
}

fn run(connection: &Connection, woken: &Receiver<()>, log: &Log) {
    while woken.recv().is_ok() {
        // One checkpoint for all commits up to now.
        while woken.try_recv().is_ok() {}
        let _checkpoint = log.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
        let copied = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        if let Err(error) = copied {
            tracing::warn!(%error, "checkpoint of the database failed; commits are not affected");
        }
    }
}
