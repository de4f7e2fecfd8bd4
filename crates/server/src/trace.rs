//! The trace: a CSV row for each exchange, with what the server's side of TCP went through for it.
//!
//! Rows go to one thread through bounded memory. A connection only ever appends to a list under a lock that is held for
//! nothing else, so no response waits for the disk; when the disk is so slow that the list is full, rows are dropped
//! and their number is logged.

mod connection_trace;
mod file;
mod writer;

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use model::TraceRow;

use crate::error::ServerError;
pub(crate) use connection_trace::ConnectionTrace;
use file::TraceFile;
use writer::Writer;

/// Rows that may wait for the disk.
const WAITING_ROWS: usize = 64 * 1024;

/// The trace being written. Dropping it writes what waits.
#[derive(Debug)]
pub(crate) struct Trace {
    waiting: Arc<Waiting>,
    thread: Option<JoinHandle<()>>,
}

/// What connections and the writing thread share.
#[derive(Debug, Default)]
struct Waiting {
    list: Mutex<List>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct List {
    rows: Vec<TraceRow>,
    /// Rows that found no room since the last look.
    dropped: u64,
    ending: bool,
}

impl Trace {
    /// Makes the file at `path`, which must not be there, and starts the thread.
    pub(crate) fn start(path: &Path) -> Result<Self, ServerError> {
        let failed = |source| ServerError::Trace { path: path.to_owned(), source };
        let file = TraceFile::create(path).map_err(failed)?;
        let waiting = Arc::new(Waiting::default());
        let writer = Writer::new(file, Arc::clone(&waiting));
        let thread = std::thread::Builder::new().name("trace".to_owned()).spawn(|| writer.run()).map_err(failed)?;
        Ok(Self { waiting, thread: Some(thread) })
    }

    /// Hands a row over; never waits for the disk.
    pub(crate) fn push(&self, row: TraceRow) {
        let mut list = self.waiting.lock();
        if list.rows.len() >= WAITING_ROWS {
            list.dropped += 1;
            return;
        }
        list.rows.push(row);
        let first = list.rows.len() == 1;
        drop(list);
        if first {
            self.waiting.changed.notify_one();
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.waiting.lock().ending = true;
        self.waiting.changed.notify_one();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the trace's thread ended in a panic");
        }
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, List> {
        // A poisoned list is usable: a panic leaves the row either pushed or not.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use std::fs;
    use std::time::Instant;

    fn row(exchange_id: u64) -> TraceRow {
        TraceRow { exchange_id, tcp_rtt_us: Some(90), tcp_rto_us: Some(201_000), retransmits: None }
    }

    /// The exchanges in a file's rows; the header must stand on top and the last row be whole.
    fn exchanges(path: &Path) -> Vec<u64> {
        let text = fs::read_to_string(path).unwrap();
        let rows = text.strip_prefix(&format!("{}\n", TraceRow::HEADER)).unwrap();
        assert!(rows.is_empty() || rows.ends_with('\n'), "{rows}");
        rows.lines().map(|line| line.strip_suffix(",90,201000,").unwrap().parse().unwrap()).collect()
    }

    #[test]
    fn rows_are_written_without_waiting_for_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.csv");
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
    fn a_file_taken_away_is_whole_and_followed_by_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.csv");
        let trace = Trace::start(&path).unwrap();
        let (mut taken, mut rows) = (Vec::new(), 0);
        while taken.len() < 4 {
            // The list must not become full where the writer gets no CPU time.
            if trace.waiting.lock().rows.len() < WAITING_ROWS / 2 {
                (rows..rows + 100).for_each(|exchange_id| trace.push(row(exchange_id)));
                rows += 100;
            }
            // Not in step with the writer, so that it is met before, while and after it writes.
            std::thread::sleep(Duration::from_millis(1));
            let aside = folder.path().join(taken.len().to_string());
            if fs::rename(&path, &aside).is_ok() {
                taken.push(aside);
            }
        }
        drop(trace);
        taken.extend(path.exists().then_some(path));
        let all: Vec<u64> = taken.iter().flat_map(|path| exchanges(path)).collect();
        assert!(all.iter().copied().eq(0..rows), "{} of {rows} rows in {} files", all.len(), taken.len());
    }

    #[test]
    fn a_file_that_is_there_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.csv");
        fs::write(&path, "of an earlier server\n").unwrap();
        let error = Trace::start(&path).unwrap_err().to_string();
        assert!(error.contains("trace.csv") && error.contains("new file"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "of an earlier server\n");
    }

    #[test]
    fn what_cannot_be_written_is_kept_until_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let (home, away) = (folder.path().join("home"), folder.path().join("away"));
        fs::create_dir(&home).unwrap();
        let trace = Trace::start(&home.join("trace.csv")).unwrap();
        fs::rename(&home, &away).unwrap();
        trace.push(row(1));
        // The list is taken at the first try, which fails.
        while !trace.waiting.lock().rows.is_empty() {
            std::thread::yield_now();
        }
        trace.push(row(2));
        fs::rename(&away, &home).unwrap();
        drop(trace);
        assert_eq!(exchanges(&home.join("trace.csv")), [1, 2]);
    }

    #[test]
    fn a_full_list_drops_and_counts() {
        // No thread: a disk that takes nothing.
        let trace = Trace { waiting: Arc::default(), thread: None };
        for exchange_id in 0..WAITING_ROWS as u64 + 3 {
            trace.push(row(exchange_id));
        }
        let list = trace.waiting.lock();
        assert_eq!((list.rows.len(), list.dropped), (WAITING_ROWS, 3));
        assert_eq!(list.rows.last(), Some(&row(WAITING_ROWS as u64 - 1)));
    }
}
