//! The trace: a CSV row per exchange, with the TCP statistics of the server's side.
//!
//! Rows go to one thread through a bounded queue, so no response waits for the disk. If the disk is so slow that the
//! queue is full, rows are dropped and their number is logged.

pub(crate) mod connection_trace;
mod file;
mod queue;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use model::TraceRow;

use crate::error::ServerError;
use file::TraceFile;
use queue::RowQueue;
use writer::Writer;

/// Trace that is being written. Dropping it writes the remaining rows.
#[derive(Debug)]
pub(crate) struct Trace {
    queue: Arc<RowQueue>,
    /// `None` only during the drop.
    thread: Option<JoinHandle<()>>,
}

impl Trace {
    /// Creates the file at `path`, which must not exist, and starts the thread.
    pub(crate) fn start(path: &Path) -> Result<Self, ServerError> {
        let failed = |cause| ServerError::Trace { path: path.to_owned(), cause };
        let file = TraceFile::create(path).map_err(failed)?;
        let queue = Arc::new(RowQueue::default());
        let writer = Writer::new(file, Arc::clone(&queue));
        let thread = std::thread::Builder::new().name("trace".to_owned()).spawn(|| writer.run()).map_err(failed)?;
        Ok(Self { queue, thread: Some(thread) })
    }

    /// Queues a row; never waits for the disk.
    pub(crate) fn push(&self, row: TraceRow) {
        self.queue.push(row);
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.queue.end();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the trace thread panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, Instant};

    use super::*;

    fn row(exchange_id: u64) -> TraceRow {
        TraceRow { exchange_id, tcp_rtt_us: Some(90), tcp_rto_us: Some(201_000), retransmits: None }
    }

    /// Returns the exchange ids in a file, which must have a header and only complete rows.
    fn exchanges(path: &Path) -> Vec<u64> {
        let text = fs::read_to_string(path).unwrap();
        let rows = text.strip_prefix(&format!("{}\n", TraceRow::HEADER)).unwrap();
        assert!(rows.is_empty() || rows.ends_with('\n'), "{rows}");
        rows.lines().map(|line| line.strip_suffix(",90,201000,").unwrap().parse().unwrap()).collect()
    }

    #[test]
    fn rows_are_written_before_the_trace_ends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trace.csv");
        let trace = Trace::start(&path).unwrap();
        assert_eq!(exchanges(&path), [0; 0]);
        trace.push(row(7));
        let pushed = Instant::now();
        while exchanges(&path).is_empty() {
            assert!(pushed.elapsed() < Duration::from_secs(10));
        }
        trace.push(row(8));
        drop(trace);
        assert_eq!(exchanges(&path), [7, 8]);
    }

    #[test]
    fn a_renamed_file_has_complete_rows_and_a_new_one_follows() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trace.csv");
        let trace = Trace::start(&path).unwrap();
        let (mut renamed, mut rows) = (Vec::new(), 0);
        while renamed.len() < 4 {
            // The list must not become full if the writer gets no CPU time.
            if trace.queue.lock().rows.len() < queue::CAPACITY / 2 {
                (rows..rows + 100).for_each(|exchange_id| trace.push(row(exchange_id)));
                rows += 100;
            }
            // Not in step with the writer, so that the rename happens before, during and after its writes.
            std::thread::sleep(Duration::from_millis(1));
            let target = directory.path().join(renamed.len().to_string());
            if fs::rename(&path, &target).is_ok() {
                renamed.push(target);
            }
        }
        drop(trace);
        renamed.extend(path.exists().then_some(path));
        let all: Vec<u64> = renamed.iter().flat_map(|path| exchanges(path)).collect();
        assert!(all.iter().copied().eq(0..rows), "{} of {rows} rows in {} files", all.len(), renamed.len());
    }

    #[test]
    fn an_existing_file_is_not_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trace.csv");
        fs::write(&path, "rows of an earlier server\n").unwrap();
        let error = Trace::start(&path).unwrap_err().to_string();
        assert!(error.contains("trace.csv") && error.contains("new file"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "rows of an earlier server\n");
    }

    #[test]
    fn rows_are_kept_until_the_file_can_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let (original, moved) = (directory.path().join("original"), directory.path().join("moved"));
        fs::create_dir(&original).unwrap();
        let trace = Trace::start(&original.join("trace.csv")).unwrap();
        fs::rename(&original, &moved).unwrap();
        trace.push(row(1));
        // The writer takes the list for its first attempt, which fails.
        while !trace.queue.lock().rows.is_empty() {
            std::thread::yield_now();
        }
        trace.push(row(2));
        fs::rename(&moved, &original).unwrap();
        drop(trace);
        assert_eq!(exchanges(&original.join("trace.csv")), [1, 2]);
    }
}
