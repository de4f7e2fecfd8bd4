//! Writes the CSV in a dedicated thread, with bounded memory.
//!
//! Rows are buffered, and written as a whole once per second or when the buffer is full. A client that is killed
//! therefore leaves no incomplete row.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::transport::ExchangeTiming;
use model::sample::{COLUMNS, Outcome, Phase, Sample};

/// Maximum number of rows that wait for the writing thread.
const WAITING_ROWS: usize = 16 * 1024;
/// Size of the buffer at which it is written, bytes.
const WRITE_BYTES: usize = 64 * 1024;
/// Maximum time between two writes.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// A completed operation.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) user: u32,
    pub(crate) sequence: u64,
    pub(crate) operation: &'static str,
    /// Intended start, microseconds since the start of the measurement window.
    pub(crate) start_us: i64,
    pub(crate) measured: ExchangeTiming,
    pub(crate) outcome: Outcome,
}

impl Row {
    /// Returns the phase by the intended start.
    pub(crate) fn phase(&self) -> Phase {
        if self.start_us < 0 { Phase::WarmUp } else { Phase::Measured }
    }
}

/// Returns the microseconds from `zero` to `time`, rounded down: a time before `zero` is never 0.
pub(crate) fn microseconds_since(zero: Instant, time: Instant) -> i64 {
    let us = match time.checked_duration_since(zero) {
        Some(after) => i64::try_from(after.as_micros()),
        None => i64::try_from((zero - time).as_nanos().div_ceil(1000)).map(|before| -before),
    };
    us.unwrap_or(i64::MAX)
}

/// Handle of the writing thread.
#[derive(Debug)]
pub(crate) struct Recorder {
    sender: SyncSender<Row>,
    thread: JoinHandle<io::Result<()>>,
}

/// Sender of rows to the writing thread.
#[derive(Debug, Clone)]
pub(crate) struct RowSender(SyncSender<Row>);

/// Error: the writing thread has failed. [`Recorder::finish`] returns the reason.
#[derive(Debug)]
pub(crate) struct WriterGone;

impl Recorder {
    /// Writes the header, and starts to write rows.
    pub(crate) fn start(mut output: Box<dyn Write + Send>, client: String) -> io::Result<Self> {
        output.write_all(format!("{}\n", COLUMNS.join(",")).as_bytes())?;
        output.flush()?;
        Self::append(output, client)
    }

    /// Starts to write rows to an output that already has a header.
    pub(crate) fn append(output: Box<dyn Write + Send>, client: String) -> io::Result<Self> {
        let (sender, rows) = sync_channel(WAITING_ROWS);
        let thread = thread::Builder::new().name("samples".to_owned()).spawn(move || write(output, &client, &rows))?;
        Ok(Self { sender, thread })
    }

    pub(crate) fn sender(&self) -> RowSender {
        RowSender(self.sender.clone())
    }

    /// Waits until all rows are written. All senders must have been dropped.
    pub(crate) fn finish(self) -> io::Result<()> {
        drop(self.sender);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the writing thread panicked")))
    }
}

impl RowSender {
    /// Passes a row to the writing thread; waits while its queue is full.
    pub(crate) async fn send(&self, row: Row) -> Result<(), WriterGone> {
        let mut row = row;
        loop {
            match self.0.try_send(row) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(_)) => return Err(WriterGone),
                Err(TrySendError::Full(back)) => row = back,
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn write(mut output: Box<dyn Write + Send>, client: &str, rows: &Receiver<Row>) -> io::Result<()> {
    let mut collected = Vec::with_capacity(WRITE_BYTES);
    let mut deadline = Instant::now() + WRITE_INTERVAL;
    loop {
        let next = rows.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        if let Ok(row) = &next {
            append(&mut collected, client, row)?;
        }
        if next.is_err() || collected.len() >= WRITE_BYTES {
            output.write_all(&collected)?;
            output.flush()?;
            collected.clear();
            deadline = Instant::now() + WRITE_INTERVAL;
        }
        if next.is_err_and(|error| error == RecvTimeoutError::Disconnected) {
            return Ok(());
        }
    }
}

fn append(collected: &mut Vec<u8>, client: &str, row: &Row) -> io::Result<()> {
    let mut writer = csv::WriterBuilder::new().has_headers(false).buffer_capacity(512).from_writer(collected);
    writer.serialize(sample(client, row)).map_err(io::Error::other)?;
    writer.flush()
}

fn sample(client: &str, row: &Row) -> Sample {
    let measured = &row.measured;
    Sample {
        client: client.to_owned(),
        user: row.user,
        sequence: row.sequence,
        operation: row.operation.to_owned(),
        phase: row.phase(),
        start_us: row.start_us,
        wait_ms: milliseconds(measured.latency.saturating_sub(measured.service)),
        connect_ms: measured.connect.map(milliseconds),
        tls_ms: measured.tls.map(milliseconds),
        tls_round_trips: measured.tls_round_trips,
        first_byte_ms: measured.first_byte.map(milliseconds),
        rtt_ms: measured.rtt.map(milliseconds),
        service_ms: milliseconds(measured.service),
        latency_ms: milliseconds(measured.latency),
        server_ms: measured.server.map(milliseconds),
        server_queue_ms: measured.server_queue.map(milliseconds),
        server_database_ms: measured.server_database.map(milliseconds),
        tcp_rtt_ms: measured.tcp_rtt.map(milliseconds),
        tcp_min_rtt_ms: measured.tcp_min_rtt.map(milliseconds),
        tcp_rto_ms: measured.tcp_rto.map(milliseconds),
        tcp_retransmits: measured.tcp_retransmits,
        exchange_id: measured.exchange_id,
        server_tcp_rtt_ms: None,
        server_tcp_rto_ms: None,
        server_tcp_retransmits: None,
        request_bytes: measured.request_bytes,
        response_bytes: measured.response_bytes,
        outcome: row.outcome,
    }
}

/// Returns milliseconds, rounded to a microsecond.
fn milliseconds(time: Duration) -> f64 {
    (time.as_nanos() as f64 / 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Records each write separately.
    #[derive(Clone, Default)]
    struct Writes(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn row(sequence: u64) -> Row {
        let measured = ExchangeTiming {
            connect: Some(Duration::from_nanos(123_456)),
            latency: Duration::from_micros(50_001),
            ..ExchangeTiming::default()
        };
        Row { user: 1, sequence, operation: "login", start_us: 2000, measured, outcome: Outcome::Timeout }
    }

    #[test]
    fn an_intended_start_before_the_measurement_window_is_warm_up() {
        let zero = Instant::now();
        for (ns, us, phase) in [
            (-2_000_000_000, -2_000_000, Phase::WarmUp),
            (-1, -1, Phase::WarmUp),
            (0, 0, Phase::Measured),
            (1999, 1, Phase::Measured),
        ] {
            let distance = Duration::from_nanos(i64::unsigned_abs(ns));
            let start_us = microseconds_since(zero, if ns < 0 { zero - distance } else { zero + distance });
            assert_eq!((start_us, Row { start_us, ..row(0) }.phase()), (us, phase), "{ns} ns");
        }
    }

    #[tokio::test]
    async fn rows_are_written_completely_and_can_be_read_as_samples() {
        let writes = Writes::default();
        let recorder = Recorder::start(Box::new(writes.clone()), "a,b".to_owned()).unwrap();
        for sequence in 0..3000 {
            recorder.sender().send(row(sequence)).await.unwrap();
        }
        recorder.finish().unwrap();
        let writes = writes.0.lock().unwrap().clone();
        assert!(writes.iter().all(|part| part.is_empty() || part.ends_with(b"\n")), "a write ended within a row");
        let text = writes.concat();
        let samples: Vec<Sample> = csv::Reader::from_reader(&text[..]).deserialize().map(Result::unwrap).collect();
        assert_eq!(samples.len(), 3000);
        assert_eq!(samples[7], sample("a,b", &row(7)));
        assert_eq!((samples[7].connect_ms, samples[7].rtt_ms, samples[7].latency_ms), (Some(0.123), None, 50.001));
    }

    #[tokio::test]
    async fn a_full_disk_ends_the_recording_with_its_error() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                if bytes.starts_with(b"client,") { Ok(bytes.len()) } else { Err(io::ErrorKind::StorageFull.into()) }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let recorder = Recorder::start(Box::new(io::LineWriter::new(Full)), String::new()).unwrap();
        let sender = recorder.sender();
        while sender.send(row(0)).await.is_ok() {}
        assert_eq!(recorder.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
