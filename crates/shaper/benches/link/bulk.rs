//! Bulk TCP streams and their throughput.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use crate::fixture::{FAR, Fixture};

/// Size of a sender's buffer.
#[derive(Clone, Copy)]
pub(crate) enum SendBuffer {
    /// The kernel chooses it, as for most programs.
    Kernel,
    /// Fixed size. Bytes that a low-rate link has not carried at the end are discarded.
    Bytes(usize),
}

/// Transmission time of ten full packets at 1 Mbit/s.
const STALL_TIMEOUT: Duration = Duration::from_millis(120);

const READ_BYTES: usize = 256 * 1024;

/// Measures the bits per second that arrive over `streams` streams from near to far, between `warm_up` and
/// `warm_up + window` after their start. Calls `at_edge` at both times.
pub(crate) fn bits_per_second(
    fixture: &Fixture,
    streams: u32,
    buffer: SendBuffer,
    [warm_up, window]: [Duration; 2],
    mut at_edge: impl FnMut(WindowEdge),
) -> f64 {
    let pairs: Vec<_> = (0..streams).map(|_| pair(fixture, buffer)).collect();
    let stop = AtomicBool::new(false);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let readers: Vec<_> = pairs
            .into_iter()
            .map(|(near, far)| {
                scope.spawn(|| write_until_reset(near));
                scope.spawn(|| read_until(far, &stop))
            })
            .collect();
        std::thread::sleep((started + warm_up).saturating_duration_since(Instant::now()));
        at_edge(WindowEdge::Start);
        std::thread::sleep((started + warm_up + window).saturating_duration_since(Instant::now()));
        at_edge(WindowEdge::End);
        stop.store(true, Ordering::Relaxed);
        let arrivals = readers.into_iter().map(|reader| reader.join().unwrap());
        arrivals.map(|arrivals| rate_between(&arrivals, started + warm_up, started + warm_up + window)).sum()
    })
}

/// Start and end of the measurement window.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum WindowEdge {
    Start,
    End,
}

/// Time and length of a read.
type Arrival = (Instant, usize);

/// Returns the rate between the first and the last arrival in the window: the bytes after the first, over the time. For
/// a stream that stopped long before the end of the window, the time is that until its end.
fn rate_between(arrivals: &[Arrival], from: Instant, to: Instant) -> f64 {
    let in_window: Vec<_> = arrivals.iter().filter(|(at, _)| (from..=to).contains(at)).collect();
    let (Some((first, _)), Some((last, _))) = (in_window.first(), in_window.last()) else { return 0.0 };
    let bytes: usize = in_window.iter().skip(1).map(|(_, bytes)| bytes).sum();
    let end = if to.duration_since(*last) > STALL_TIMEOUT { to } else { *last };
    bytes as f64 * 8.0 / end.duration_since(*first).as_secs_f64()
}

fn pair(fixture: &Fixture, buffer: SendBuffer) -> (TcpStream, TcpStream) {
    let listener = Fixture::inside(&fixture.far, || TcpListener::bind((FAR, 0)).unwrap());
    let address = listener.local_addr().unwrap();
    let near = Fixture::inside(&fixture.near, || TcpStream::connect(address).unwrap());
    if let SendBuffer::Bytes(bytes) = buffer {
        setsockopt(&near, sockopt::SndBuf, &bytes).unwrap();
    }
    let (far, _) = listener.accept().unwrap();
    (near, far)
}

fn write_until_reset(mut stream: TcpStream) {
    let block = vec![0; READ_BYTES];
    while stream.write_all(&block).is_ok() {}
}

/// Closing with bytes unread resets the connection, which ends the writer.
fn read_until(mut stream: TcpStream, stop: &AtomicBool) -> Vec<Arrival> {
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut arrivals = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(bytes) => arrivals.push((Instant::now(), bytes)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => panic!("cannot read from a stream: {error}"),
        }
    }
    arrivals
}
