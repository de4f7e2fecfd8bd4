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
        let (now, wall_now) = (Instant::now(), SystemTime::now());
        let stamp = message.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(stamp) => Some(SystemTime::UNIX_EPOCH + Duration::from(stamp)),
            _ => None,
        });
        let age = stamp.and_then(|stamp| wall_now.duration_since(stamp).ok()).filter(|age| *age <= OLDEST);
        let arrived = age.and_then(|age| now.checked_sub(age)).unwrap_or(now);
        Ok((message.bytes, arrived))
    })
}
