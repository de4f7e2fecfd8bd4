//! `TCP_INFO`: what the kernel knows about a connection. The client asks it after each operation, the server for its
//! trace; both must mean the same by the same name.
//!
//! The C library's structure may be shorter or longer than the running kernel's, so the part that is used is laid out
//! here, and what the kernel did not fill in is `None`.

use std::io;
use std::mem::{self, MaybeUninit, offset_of};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// What is used of `struct tcp_info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpInfo {
    /// Smoothed round-trip time (`tcpi_rtt`); `None` before the first measurement.
    pub rtt: Option<Duration>,
    /// The shortest round trip of the last five minutes (`tcpi_min_rtt`; the window is the sysctl
    /// `tcp_min_rtt_wlen`); `None` before the first measurement, and from kernels before 4.6.
    pub min_rtt: Option<Duration>,
    /// How long an unacknowledged segment waits now until it is sent again (`tcpi_rto`), doubled by each timeout in a
    /// row.
    pub rto: Option<Duration>,
    /// Segments sent again since the connection was started (`tcpi_total_retrans`): data, FINs, and what opened it: on
    /// the side that connected its SYNs; on the side that accepted its SYN-ACKs, which the kernel counts on the
    /// request and hands to the new socket (`tcp_create_openreq_child`).
    pub total_retransmits: Option<u32>,
}

/// The start of the kernel's structure (`include/uapi/linux/tcp.h`), which only ever grows at its end.
#[repr(C)]
struct Prefix {
    /// `tcpi_state` to the flags after `tcpi_rcv_wscale`.
    state_and_options: [u8; 8],
    /// Microseconds.
    rto: u32,
    /// `tcpi_ato` to `tcpi_rcv_ssthresh`.
    ato_and_so_on: [u32; 14],
    /// Microseconds.
    rtt: u32,
    /// `tcpi_rttvar` to `tcpi_rcv_space`.
    rttvar_and_so_on: [u32; 7],
    total_retrans: u32,
    /// `tcpi_pacing_rate` to `tcpi_bytes_received`.
    pacing_rate_and_so_on: [u64; 4],
    /// `tcpi_segs_out` to `tcpi_notsent_bytes`.
    segments_out_and_so_on: [u32; 3],
    /// Microseconds.
    min_rtt: u32,
}

/// What `tcpi_min_rtt` holds before the first measurement.
const NO_MIN_RTT: u32 = u32::MAX;

impl TcpInfo {
    /// Asks the kernel about a TCP socket.
    ///
    /// # Errors
    /// When the kernel refuses: it is no TCP socket.
    pub fn of(socket: &impl AsFd) -> io::Result<Self> {
        let mut prefix = MaybeUninit::<Prefix>::zeroed();
        let mut length = mem::size_of::<Prefix>() as libc::socklen_t;
        // SAFETY: the descriptor is borrowed for the call, `prefix` has room for `length` bytes, and the kernel writes
        // no more than that.
        let status = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                prefix.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if status != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was zeroed, and all zeros is a valid value of this structure of integers.
        let prefix = unsafe { prefix.assume_init() };
        Ok(Self::read(&prefix, length as usize))
    }

    /// Of `prefix` the kernel has filled in `length` bytes.
    fn read(prefix: &Prefix, length: usize) -> Self {
        let given = |offset, value: u32| (offset + mem::size_of::<u32>() <= length).then_some(value);
        let time = |micros: u32| Duration::from_micros(u64::from(micros));
        let min_rtt = given(offset_of!(Prefix, min_rtt), prefix.min_rtt);
        Self {
            rtt: given(offset_of!(Prefix, rtt), prefix.rtt).filter(|rtt| *rtt > 0).map(time),
            // A listening socket has 0; a measured round trip is never that short.
            min_rtt: min_rtt.filter(|rtt| ![0, NO_MIN_RTT].contains(rtt)).map(time),
            rto: given(offset_of!(Prefix, rto), prefix.rto).filter(|rto| *rto > 0).map(time),
            total_retransmits: given(offset_of!(Prefix, total_retrans), prefix.total_retrans),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::time::Instant;

    #[test]
    fn the_fields_are_where_the_c_library_says() {
        assert_eq!(offset_of!(Prefix, rto), offset_of!(libc::tcp_info, tcpi_rto));
        assert_eq!(offset_of!(Prefix, rtt), offset_of!(libc::tcp_info, tcpi_rtt));
        assert_eq!(offset_of!(Prefix, total_retrans), offset_of!(libc::tcp_info, tcpi_total_retrans));
        #[cfg(target_env = "gnu")]
        assert_eq!(offset_of!(Prefix, min_rtt), offset_of!(libc::tcp_info, tcpi_min_rtt));
    }

    #[test]
    fn both_ends_of_a_loopback_connection_have_round_trips_and_no_retransmits() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let before = Instant::now();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        // A byte there and one back, so that each side has an acknowledgement of its own data.
        near.write_all(b"x").unwrap();
        far.read_exact(&mut [0]).unwrap();
        far.write_all(b"y").unwrap();
        near.read_exact(&mut [0]).unwrap();
        near.write_all(b"z").unwrap();
        far.read_exact(&mut [0]).unwrap();
        for info in [TcpInfo::of(&near).unwrap(), TcpInfo::of(&far).unwrap()] {
            let (rtt, min_rtt) = (info.rtt.unwrap(), info.min_rtt.unwrap());
            assert!(min_rtt <= before.elapsed() && rtt <= before.elapsed(), "{info:?}");
            assert!(info.rto.unwrap() > rtt, "{info:?}");
            assert_eq!(info.total_retransmits, Some(0));
        }
    }

    #[test]
    fn what_the_kernel_did_not_fill_in_or_measure_is_none() {
        let prefix = Prefix {
            state_and_options: [0; 8],
            rto: 204_000,
            ato_and_so_on: [0; 14],
            rtt: 1500,
            rttvar_and_so_on: [0; 7],
            total_retrans: 3,
            pacing_rate_and_so_on: [0; 4],
            segments_out_and_so_on: [0; 3],
            min_rtt: 1400,
        };
        let whole = TcpInfo::read(&prefix, mem::size_of::<Prefix>());
        assert_eq!(whole.min_rtt, Some(Duration::from_micros(1400)));
        // The structure of Linux 2.6 ends with tcpi_total_retrans.
        let old = TcpInfo::read(&prefix, offset_of!(Prefix, pacing_rate_and_so_on));
        assert_eq!(old, TcpInfo { min_rtt: None, ..whole });
        assert_eq!((old.total_retransmits, old.rtt), (Some(3), Some(Duration::from_micros(1500))));
        let unmeasured = Prefix { min_rtt: NO_MIN_RTT, rtt: 0, ..prefix };
        let unmeasured = TcpInfo::read(&unmeasured, mem::size_of::<Prefix>());
        assert_eq!(unmeasured, TcpInfo { min_rtt: None, rtt: None, ..whole });
        let half_a_field = TcpInfo::read(&prefix, offset_of!(Prefix, rtt) + 2);
        assert_eq!((half_a_field.rtt, half_a_field.rto), (None, Some(Duration::from_millis(204))));
    }

    #[test]
    fn a_socket_without_a_peer_has_no_round_trip_and_one_without_tcp_no_answer() {
        let unconnected = TcpListener::bind("127.0.0.1:0").unwrap();
        let info = TcpInfo::of(&unconnected).unwrap();
        assert_eq!((info.rtt, info.min_rtt), (None, None), "{info:?}");
        assert!(TcpInfo::of(&UdpSocket::bind("127.0.0.1:0").unwrap()).is_err());
    }
}
