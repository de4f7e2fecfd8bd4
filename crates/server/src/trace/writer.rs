//! The thread that writes the trace: gathers rows for a moment, appends them together, and tries again when it can't.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use model::TraceRow;

use crate::trace::file::TraceFile;
use crate::trace::queue::RowQueue;

/// How long rows are gathered before they are written together.
const GATHER: Duration = Duration::from_millis(50);
/// When the file could not be written, how long until it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The writing thread.
pub(super) struct Writer {
    file: TraceFile,
    queue: Arc<RowQueue>,
    /// Rows being written; kept while the file can't be.
    batch: Vec<TraceRow>,
    /// How long to wait before the next write.
    pause: Duration,
}

impl Writer {
    /// One that has written nothing yet but what `file` holds.
    pub(super) fn new(file: TraceFile, queue: Arc<RowQueue>) -> Self {
        Self { file, queue, batch: Vec::new(), pause: GATHER }
    }

    /// Writes until the list says that the end has come, and then what is left in it.
    pub(super) fn run(mut self) {
        loop {
            let (ending, dropped) = self.gather();
            if dropped > 0 {
                tracing::warn!(rows = dropped, "the trace fell behind: rows were dropped");
            }
            if self.batch.is_empty() {
                return;
            }
            let written = self.file.append(&self.batch);
            self.pause = if written.is_ok() { GATHER } else { RETRY };
            match written {
                Ok(()) => self.batch.clear(),
                Err(error) if ending => {
                    let rows = self.batch.len() + self.queue.lock().rows.len();
                    tracing::error!(rows, %error, "the trace could not be written: rows are lost");
                    return;
                }
                Err(error) => tracing::warn!(%error, "the trace could not be written, will try again"),
            }
        }
    }

    /// Waits for rows and a while longer; none are there only at the end. Tells whether that has come, and how many
    /// rows were dropped.
    fn gather(&mut self) -> (bool, u64) {
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

    /// What a writer logs that finds `dropped` and one row at the end, `file` being its file.
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
    fn rows_that_were_dropped_or_lost_are_logged_with_their_number() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| TraceFile::create(&folder.path().join(name)).unwrap();
        assert_eq!(logged(file("good"), 0), "");
        let said = logged(file("slow"), 3);
        assert!(said.contains("WARN") && said.contains("rows=3"), "{said}");
        let gone = folder.path().join("gone");
        std::fs::create_dir(&gone).unwrap();
        let lost = file("gone/trace.csv");
        std::fs::remove_dir_all(&gone).unwrap();
        let said = logged(lost, 0);
        assert!(said.contains("ERROR") && said.contains("rows=1"), "{said}");
    }
}
