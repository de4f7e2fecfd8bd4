//! `TCP_INFO`: what the kernel knows about a connection.

use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// The part of `struct tcp_info` that a sample carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TcpInfo {
    /// Smoothed round-trip time; `None` before the first measurement.
    pub(super) rtt: Option<Duration>,
    /// Segments sent again since the connection was begun, SYNs included.
    pub(super) total_retransmits: u32,
}

impl TcpInfo {
    /// Asks the kernel.
    pub(super) fn of(socket: &impl AsFd) -> io::Result<Self> {
        let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
        let mut length = mem::size_of::<libc::tcp_info>() as libc::socklen_t;
        // SAFETY: the descriptor is borrowed for the call, `info` has room for `length` bytes, and the kernel writes
        // no more than that.
        let status = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                info.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if status != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was zeroed, and all zeros is a valid value of this structure of integers.
        let info = unsafe { info.assume_init() };
        let rtt = (info.tcpi_rtt > 0).then(|| Duration::from_micros(u64::from(info.tcpi_rtt)));
        Ok(Self { rtt, total_retransmits: info.tcpi_total_retrans })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_fresh_loopback_connection_has_a_short_round_trip_and_no_retransmits() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let info = TcpInfo::of(&stream).unwrap();
        assert!(info.rtt.is_some_and(|rtt| rtt < Duration::from_millis(50)), "{info:?}");
        assert_eq!(info.total_retransmits, 0);
    }
}
