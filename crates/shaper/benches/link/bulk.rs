//! TCP streams that send as fast as they can, and what arrives of them.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use crate::fixture::{FAR, Fixture};

/// How a sender's buffer is sized.
#[derive(Clone, Copy)]
pub(crate) enum SendBuffer {
    /// By the kernel, as most programs leave it.
    Kernel,
    /// So many bytes: what a slow link has not carried at the end is thrown away.
    Bytes(usize),
}

/// Ten full packets at 1 Mbit/s.
const STANDSTILL: Duration = Duration::from_millis(120);

const READ_BYTES: usize = 256 * 1024;

/// Bits a second that arrived over `streams` streams from near to far, between `cut` and `cut + window` after their
/// start; `at_cut` and `at_end` are called at those moments.
pub(crate) fn bits_per_second(
    fixture: &Fixture,
    streams: u32,
    buffer: SendBuffer,
    [cut, window]: [Duration; 2],
    mut at: impl FnMut(Moment),
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
        std::thread::sleep((started + cut).saturating_duration_since(Instant::now()));
        at(Moment::Cut);
        std::thread::sleep((started + cut + window).saturating_duration_since(Instant::now()));
        at(Moment::End);
        stop.store(true, Ordering::Relaxed);
        let arrivals = readers.into_iter().map(|reader| reader.join().unwrap());
        arrivals.map(|arrivals| rate_between(&arrivals, started + cut, started + cut + window)).sum()
    })
}

/// The two ends of the window that counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Cut,
    End,
}

/// What a read got, and when.
type Arrival = (Instant, usize);

/// From the first arrival in the window to the last one: what came in after the first, over the time it took. A stream
/// that stopped long before the window's end is measured to there.
fn rate_between(arrivals: &[Arrival], from: Instant, to: Instant) -> f64 {
    let inside: Vec<_> = arrivals.iter().filter(|(at, _)| (from..=to).contains(at)).collect();
    let (Some((first, _)), Some((last, _))) = (inside.first(), inside.last()) else { return 0.0 };
    let bytes: usize = inside.iter().skip(1).map(|(_, bytes)| bytes).sum();
    let end = if to.duration_since(*last) > STANDSTILL { to } else { *last };
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
            Err(error) => panic!("a stream broke: {error}"),
        }
    }
    arrivals
}
