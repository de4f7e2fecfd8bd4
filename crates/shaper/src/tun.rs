//! The TUN device: where the kernel hands over each packet that is to be shaped, one [`crate::tun_packet`] a read.
//!
//! Unless bundles are asked for, the kernel cuts segments and finishes checksums before the packet gets here, and one
//! read is one packet of the wire. The device vanishes with the process that opened it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;

/// Name of the shaper's device; one a network namespace.
pub(crate) const NAME: &str = "shaper0";

/// Packets that wait for the engine while the workload has its core: 60 ms of full packets at 1 Gbit/s.
/// The kernel's default, 500, loses packets that the condition never asked to lose.
pub(crate) const QUEUE_PACKETS: u32 = 5_000;

const CLONE_DEVICE: &str = "/dev/net/tun";

/// An open TUN device in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Tun {
    file: File,
}

/// How the kernel is to hand over TCP segments that were sent together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OffloadMode {
    /// As one bundle, checksums only begun.
    Gso,
    /// One by one, as they are on the wire.
    WirePackets,
}

/// Why there is no TUN device.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TunError {
    #[error(
        "cannot open {CLONE_DEVICE}: {0}; the shaper needs it: in a container give --device {CLONE_DEVICE}, else load the kernel module 'tun'"
    )]
    Open(io::Error),
    #[error(
        "cannot create the TUN device {NAME}: {0}; the shaper needs CAP_NET_ADMIN: run it as root, in a container give --cap-add NET_ADMIN"
    )]
    Create(io::Error),
}

impl Tun {
    /// Creates the device, down and without addresses. Reads never block.
    pub(crate) fn create() -> Result<Self, TunError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
        let file = options.open(CLONE_DEVICE).map_err(TunError::Open)?;
        attach(&file).map_err(TunError::Create)?;
        Ok(Self { file })
    }

    /// Changes how packets are handed over from now on; those that wait already come as they are.
    pub(crate) fn set_offload_mode(&self, mode: OffloadMode) -> io::Result<()> {
        let offloads = match mode {
            OffloadMode::Gso => libc::TUN_F_CSUM | libc::TUN_F_TSO4,
            OffloadMode::WirePackets => 0,
        };
        // SAFETY: the descriptor is open, and TUNSETOFFLOAD takes its argument by value.
        let result = unsafe { libc::ioctl(self.file.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(offloads)) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Reads the next parcel into `buffer`; `None` when none is waiting.
    ///
    /// # Errors
    /// When the device is gone.
    pub(crate) fn read<'a>(&mut self, buffer: &'a mut [u8]) -> io::Result<Option<&'a mut [u8]>> {
        loop {
            match self.file.read(buffer) {
                Ok(length) => return Ok(Some(&mut buffer[..length])),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn attach(file: &File) -> io::Result<()> {
    // SAFETY: an `ifreq` is plain integers and bytes, for which all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(NAME.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
    // SAFETY: the descriptor is open, and TUNSETIFF reads and writes one `ifreq`, which outlives the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
