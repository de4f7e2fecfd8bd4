//! When bytes arrived: the kernel's stamp on their packet, and not the moment at which this program got a core to look.
//!
//! TCP gives the stamp of the last packet that a read has taken bytes from (`SO_TIMESTAMPNS`, socket(7); for TCP since
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

/// A stamp that is older than this, or of the future, is of a clock that was set meanwhile.
const OLDEST: Duration = Duration::from_secs(5);

/// Readings of the clocks that are this close together are taken as one moment.
const CLOSE_READINGS: Duration = Duration::from_micros(1);
/// Readings at most, on a host whose clocks are slow to read.
const MAX_READINGS: usize = 5;

/// Has the kernel stamp what this connection receives. Without it the program's own clock is read.
pub(super) fn stamp(stream: &TcpStream) {
    static KEPT: OnceLock<Option<UdpSocket>> = OnceLock::new();
    // The kernel stamps while any socket wants it, and patches itself when the first comes and the last goes: one that
    // stays spares it that for each connection.
    KEPT.get_or_init(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").ok()?;
        setsockopt(&socket, ReceiveTimestampns, &true).ok().map(|()| socket)
    });
    // Refused by no kernel that there still is.
    let _ = setsockopt(stream, ReceiveTimestampns, &true);
}

/// Reads what is there, and tells when the last of it arrived.
///
/// # Errors
/// `WouldBlock` when nothing is there; what `recvmsg` says otherwise.
pub(super) fn read(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<(usize, Instant)> {
    stream.try_io(Interest::READABLE, || {
        let mut control = nix::cmsg_space!(TimeSpec);
        let mut parts = [IoSliceMut::new(buffer)];
        let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
        let stamp = message.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(stamp) => Some(SystemTime::UNIX_EPOCH + Duration::from(stamp)),
            _ => None,
        });
        let (real, monotonic) = one_moment(|| (Instant::now(), SystemTime::now(), Instant::now()));
        let age = stamp.and_then(|stamp| real.duration_since(stamp).ok()).filter(|age| *age <= OLDEST);
        let arrived = age.and_then(|age| monotonic.checked_sub(age)).unwrap_or(monotonic);
        Ok((message.bytes, arrived))
    })
}

/// Returns one moment on the real-time and on the monotonic clock. `clocks` reads the latter before and after the
/// former.
///
/// A thread that loses its core between two readings would shift every time that is converted with them by as long, so
/// wide readings are repeated. The later one of the monotonic clock counts: no response is dated before its arrival.
fn one_moment(mut clocks: impl FnMut() -> (Instant, SystemTime, Instant)) -> (SystemTime, Instant) {
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
    fn clocks_that_were_read_far_apart_are_read_again() {
        let (start, real_start) = (Instant::now(), SystemTime::now());
        let us = Duration::from_micros;
        let reading = |at: u64, width: u64| (start + us(at), real_start + us(at), start + us(at + width));
        for (widths, expected) in [(vec![1], 0), (vec![20_000, 1], 1), (vec![20_000, 9_000, 12_000, 9_500, 9_100], 1)] {
            let mut readings = widths.iter().enumerate().map(|(at, width)| reading(at as u64, *width));
            let (real, monotonic) = one_moment(|| readings.next().unwrap());
            let (_, expected_real, expected_monotonic) = reading(expected, widths[expected as usize]);
            assert_eq!((real, monotonic), (expected_real, expected_monotonic), "{widths:?}");
            assert_eq!(readings.count(), 0, "{widths:?}");
        }
    }
}
