//! Arrival times of received bytes by the kernel's timestamps, which exclude this program's scheduling.
//!
//! For TCP a read returns the timestamp of the last packet that it read bytes of (`SO_TIMESTAMPNS`, socket(7); since
//! Linux 4.13).

use std::io::{self, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::socket::sockopt::ReceiveTimestampns;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};
use nix::sys::time::TimeSpec;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Maximum age of a timestamp. If it is older, or in the future, the clock was set in the meantime.
const MAX_AGE: Duration = Duration::from_secs(5);

/// Clock readings with at most this difference count as simultaneous.
const CLOSE_READINGS: Duration = Duration::from_micros(1);
/// Maximum number of readings, on a host with slow clocks.
const MAX_READINGS: usize = 5;

/// Enables the kernel's timestamps for this connection. Without them the program's clock is read.
pub(super) fn enable(stream: &TcpStream) {
    static KEEP_ENABLED: OnceLock<Option<UdpSocket>> = OnceLock::new();
    // The kernel patches its code when the first socket enables timestamps and when the last one closes. A socket that
    // stays open avoids this for each connection.
    KEEP_ENABLED.get_or_init(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").ok()?;
        setsockopt(&socket, ReceiveTimestampns, &true).ok().map(|()| socket)
    });
    // Supported by every kernel in use.
    let _ = setsockopt(stream, ReceiveTimestampns, &true);
}

/// Reads available bytes, and returns their number and the arrival time of the last one.
///
/// # Errors
/// `WouldBlock` if no bytes are available; otherwise the error of `recvmsg`.
pub(super) fn read(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<(usize, Instant)> {
    stream.try_io(Interest::READABLE, || {
        let mut control = nix::cmsg_space!(TimeSpec);
        let mut buffers = [IoSliceMut::new(buffer)];
        let message = recvmsg::<()>(stream.as_raw_fd(), &mut buffers, Some(&mut control), MsgFlags::empty())?;
        let timestamp = message.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(time) => Some(SystemTime::UNIX_EPOCH + Duration::from(time)),
            _ => None,
        });
        let (real, monotonic) = simultaneous(|| (Instant::now(), SystemTime::now(), Instant::now()));
        let age = timestamp.and_then(|time| real.duration_since(time).ok()).filter(|age| *age <= MAX_AGE);
        let arrived = age.and_then(|age| monotonic.checked_sub(age)).unwrap_or(monotonic);
        Ok((message.bytes, arrived))
    })
}

/// Returns a simultaneous reading of the real-time and the monotonic clock. `clocks` reads the monotonic clock before
/// and after the real-time clock.
///
/// A thread that is preempted between two readings would shift the converted times, so readings that are far apart are
/// repeated. The later reading of the monotonic clock is used: no response has an arrival time before its arrival.
fn simultaneous(mut clocks: impl FnMut() -> (Instant, SystemTime, Instant)) -> (SystemTime, Instant) {
    let width = |(before, _, after): (Instant, SystemTime, Instant)| after - before;
    let mut closest = clocks();
    for _ in 1..MAX_READINGS {
        if width(closest) <= CLOSE_READINGS {
            break;
        }
        let next = clocks();
        if width(next) < width(closest) {
            closest = next;
        }
    }
    (closest.1, closest.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_with_readings_far_apart_are_read_again() {
        let (start, real_start) = (Instant::now(), SystemTime::now());
        let us = Duration::from_micros;
        let reading = |at: u64, width: u64| (start + us(at), real_start + us(at), start + us(at + width));
        for (widths, expected) in [(vec![1], 0), (vec![20_000, 1], 1), (vec![20_000, 9_000, 12_000, 9_500, 9_100], 1)] {
            let mut readings = widths.iter().enumerate().map(|(at, width)| reading(at as u64, *width));
            let (real, monotonic) = simultaneous(|| readings.next().unwrap());
            let (_, expected_real, expected_monotonic) = reading(expected, widths[expected as usize]);
            assert_eq!((real, monotonic), (expected_real, expected_monotonic), "{widths:?}");
            assert_eq!(readings.count(), 0, "{widths:?}");
        }
    }
}
