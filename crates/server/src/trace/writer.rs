//! Thread that writes the trace: collects rows briefly, appends them together, and retries after an error.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use model::TraceRow;

use crate::trace::file::TraceFile;
use crate::trace::queue::RowQueue;

/// Time for which rows are collected before they are written together.
const WRITE_INTERVAL: Duration = Duration::from_millis(50);
/// Pause after a failed write.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// State of the writing thread.
pub(super) struct Writer {
    file: TraceFile,
    queue: Arc<RowQueue>,
    /// Rows being written; kept until the file can be written.
    batch: Vec<TraceRow>,
    /// Time until the next write.
    pause: Duration,
}

impl Writer {
    /// Returns a writer that has not written any rows.
    pub(super) fn new(file: TraceFile, queue: Arc<RowQueue>) -> Self {
        Self { file, queue, batch: Vec::new(), pause: WRITE_INTERVAL }
    }

    /// Writes rows until the end is requested, then the remaining ones.
    pub(super) fn run(mut self) {
        loop {
            let (ending, dropped) = self.collect();
            if dropped > 0 {
                tracing::warn!(rows = dropped, "trace queue full: rows were dropped");
            }
            if self.batch.is_empty() {
                return;
            }
            let written = self.file.append(&self.batch);
            self.pause = if written.is_ok() { WRITE_INTERVAL } else { RETRY_INTERVAL };
            match written {
                Ok(()) => self.batch.clear(),
                Err(error) if ending => {
                    let rows = self.batch.len() + self.queue.lock().rows.len();
                    tracing::error!(rows, %error, "cannot write the trace: rows are lost");
                    return;
                }
                Err(error) => tracing::warn!(%error, "cannot write the trace, retrying"),
            }
        }
    }

    /// Waits for rows, and then for further ones until the next write. Returns whether the end was requested, and the
    /// number of dropped rows. The batch is empty only at the end.
    fn collect(&mut self) -> (bool, u64) {
        let mut list = self.queue.lock();
        while self.batch.is_empty() && list.rows.is_empty() && !list.ending {
            list = self.queue.changed.wait(list).unwrap_or_else(PoisonError::into_inner);
        }
        let waited = self.queue.changed.wait_timeout_while(list, self.pause, |list| !list.ending);
        let (mut list, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if self.batch.is_empty() {
            std::mem::swap(&mut self.batch, &mut list.rows);
        }
        (list.ending, std::mem::take(&mut list.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::queue::RowList;
    use std::io;
    use std::sync::Mutex;

    /// Returns the log of a writer that ends with one row and this number of dropped ones.
    fn logged(file: TraceFile, dropped: u64) -> String {
        let row = TraceRow { exchange_id: 1, tcp_rtt_us: None, tcp_rto_us: None, retransmits: None };
        let list = Mutex::new(RowList { rows: vec![row], dropped, ending: true });
        let queue = Arc::new(RowQueue { list, ..RowQueue::default() });
        let lines = Lines::default();
        let to_lines = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || to_lines.clone()).finish();
        tracing::subscriber::with_default(subscriber, || Writer::new(file, queue).run());
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn dropped_and_lost_rows_are_logged_with_their_number() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| TraceFile::create(&directory.path().join(name)).unwrap();
        assert_eq!(logged(file("good"), 0), "");
        let log = logged(file("slow"), 3);
        assert!(log.contains("WARN") && log.contains("rows=3"), "{log}");
        let removed = directory.path().join("removed");
        std::fs::create_dir(&removed).unwrap();
        let lost = file("removed/trace.csv");
        std::fs::remove_dir_all(&removed).unwrap();
        let log = logged(lost, 0);
        assert!(log.contains("ERROR") && log.contains("rows=1"), "{log}");
    }
}
