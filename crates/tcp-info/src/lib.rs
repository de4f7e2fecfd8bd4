//! `TCP_INFO`: the kernel's statistics of a connection. The client reads them after each operation, the server for its
//! trace, with the same definitions.
//!
//! The C library's structure may be shorter or longer than the running kernel's. The fields in use are therefore
//! declared here, and a field that the kernel does not fill in is `None`.

use std::io;
use std::mem::{self, MaybeUninit, offset_of};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// Fields in use of `struct tcp_info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpInfo {
    /// Smoothed RTT (`tcpi_rtt`); `None` before the first measurement.
    pub rtt: Option<Duration>,
    /// Minimum RTT of the last five minutes (`tcpi_min_rtt`; the sysctl `tcp_min_rtt_wlen` sets the window); `None`
    /// before the first measurement, and in kernels before 4.6.
    pub min_rtt: Option<Duration>,
    /// Retransmission timeout (`tcpi_rto`), doubled by each consecutive timeout.
    pub rto: Option<Duration>,
    /// Segments retransmitted since the start of the connection (`tcpi_total_retrans`): data, FINs, the connecting
    /// side's SYNs, and the accepting side's SYN-ACKs, which the kernel copies from the request to the new socket
    /// (`tcp_create_openreq_child`).
    pub total_retransmits: Option<u32>,
    /// Whether the peer has acknowledged everything that was sent, including the FIN (`tcpi_state`).
    pub fin_acknowledged: bool,
}

/// States in which the peer has acknowledged the FIN: `TCP_FIN_WAIT2`, `TCP_TIME_WAIT` and `TCP_CLOSE` of the kernel's
/// `include/net/tcp_states.h`.
const FIN_ACKNOWLEDGED_STATES: [u8; 3] = [5, 6, 7];

/// First fields of the kernel's structure (`include/uapi/linux/tcp.h`), which is only extended at its end.
#[repr(C)]
struct Prefix {
    state: u8,
    /// `tcpi_ca_state` to the flags after `tcpi_rcv_wscale`.
    ca_state_and_so_on: [u8; 7],
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

/// Value of `tcpi_min_rtt` before the first measurement.
const NO_MIN_RTT: u32 = u32::MAX;

impl TcpInfo {
    /// Reads the statistics of a TCP socket.
    ///
    /// # Errors
    /// The socket is not a TCP socket.
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
        // SAFETY: the memory was zeroed, and all zeros is a valid value of this structure of integers.
        let prefix = unsafe { prefix.assume_init() };
        Ok(Self::read(&prefix, length as usize))
    }

    /// Converts `prefix`, of which the kernel has filled in `length` bytes.
    fn read(prefix: &Prefix, length: usize) -> Self {
        let filled_in = |offset, value: u32| (offset + mem::size_of::<u32>() <= length).then_some(value);
        let time = |micros: u32| Duration::from_micros(u64::from(micros));
        let min_rtt = filled_in(offset_of!(Prefix, min_rtt), prefix.min_rtt);
        Self {
            rtt: filled_in(offset_of!(Prefix, rtt), prefix.rtt).filter(|rtt| *rtt > 0).map(time),
            // A listening socket has 0, which is never measured.
            min_rtt: min_rtt.filter(|rtt| ![0, NO_MIN_RTT].contains(rtt)).map(time),
            rto: filled_in(offset_of!(Prefix, rto), prefix.rto).filter(|rto| *rto > 0).map(time),
            total_retransmits: filled_in(offset_of!(Prefix, total_retrans), prefix.total_retrans),
            fin_acknowledged: FIN_ACKNOWLEDGED_STATES.contains(&prefix.state),
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
    fn the_fields_have_the_offsets_of_the_c_library() {
        assert_eq!(offset_of!(Prefix, rto), offset_of!(libc::tcp_info, tcpi_rto));
        assert_eq!(offset_of!(Prefix, rtt), offset_of!(libc::tcp_info, tcpi_rtt));
        assert_eq!(offset_of!(Prefix, total_retrans), offset_of!(libc::tcp_info, tcpi_total_retrans));
        #[cfg(target_env = "gnu")]
        assert_eq!(offset_of!(Prefix, min_rtt), offset_of!(libc::tcp_info, tcpi_min_rtt));
    }

    #[test]
    fn both_ends_of_a_loopback_connection_have_rtts_and_no_retransmissions() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let before = Instant::now();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        // Data in both directions, so that each side receives an acknowledgement.
        near.write_all(b"x").unwrap();
        far.read_exact(&mut [0]).unwrap();
        far.write_all(b"y").unwrap();
        near.read_exact(&mut [0]).unwrap();
        near.write_all(b"z").unwrap();
        far.read_exact(&mut [0]).unwrap();
        assert!(!TcpInfo::of(&near).unwrap().fin_acknowledged);
        for info in [TcpInfo::of(&near).unwrap(), TcpInfo::of(&far).unwrap()] {
            let (rtt, min_rtt) = (info.rtt.unwrap(), info.min_rtt.unwrap());
            assert!(min_rtt <= before.elapsed() && rtt <= before.elapsed(), "{info:?}");
            assert!(info.rto.unwrap() > rtt, "{info:?}");
            assert_eq!(info.total_retransmits, Some(0));
        }
        near.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(far.read(&mut [0]).unwrap(), 0);
        while !TcpInfo::of(&near).unwrap().fin_acknowledged {
            std::thread::yield_now();
        }
    }

    #[test]
    fn fields_that_the_kernel_did_not_fill_in_or_measure_are_none() {
        let prefix = Prefix {
            state: 1,
            ca_state_and_so_on: [0; 7],
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
    fn a_socket_without_a_peer_has_no_rtt_and_a_udp_socket_is_an_error() {
        let unconnected = TcpListener::bind("127.0.0.1:0").unwrap();
        let info = TcpInfo::of(&unconnected).unwrap();
        assert_eq!((info.rtt, info.min_rtt), (None, None), "{info:?}");
        assert!(TcpInfo::of(&UdpSocket::bind("127.0.0.1:0").unwrap()).is_err());
    }
}
