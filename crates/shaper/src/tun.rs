//! TUN device, from which the shaper reads packets: each read returns one [`crate::tun_packet::TunPacket`].
//!
//! Unless GSO packets are requested, the kernel segments packets and completes checksums first, and one read returns
//! one wire packet. The kernel deletes the device when the process that opened it ends.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;

/// Name of the shaper's device; one in each network namespace.
pub(crate) const NAME: &str = "shaper0";

/// Queue length for packets that wait for the forwarder while the workload uses its core: 60 ms of full packets at
/// 1 Gbit/s. The kernel's default, 500, drops packets that the condition does not drop.
pub(crate) const QUEUE_PACKETS: u32 = 5_000;

const CLONE_DEVICE: &str = "/dev/net/tun";

/// An open TUN device in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Tun {
    file: File,
}

/// Form in which the kernel delivers TCP segments that were sent together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OffloadMode {
    /// As one GSO packet, with a partial checksum.
    Gso,
    /// Each as a wire packet.
    WirePackets,
}

/// Reason for which the TUN device could not be created.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TunError {
    #[error(
        "cannot open {CLONE_DEVICE}: {0}; \
         add --device {CLONE_DEVICE} to a container, otherwise load the kernel module 'tun'"
    )]
    Open(io::Error),
    #[error(
        "cannot create the TUN device {NAME}: {0}; the shaper needs CAP_NET_ADMIN: \
         run it as root, or add --cap-add NET_ADMIN to a container"
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

    /// Changes how packets are delivered from now on; packets already queued do not change.
    pub(crate) fn set_offload_mode(&self, mode: OffloadMode) -> io::Result<()> {
        let offloads = match mode {
            OffloadMode::Gso => libc::TUN_F_CSUM | libc::TUN_F_TSO4,
            OffloadMode::WirePackets => 0,
        };
        // SAFETY: the descriptor is open, and TUNSETOFFLOAD takes its argument by value.
        let result = unsafe { libc::ioctl(self.file.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(offloads)) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Reads the next packet into `buffer`; `None` if none is queued.
    ///
    /// # Errors
    /// The device was deleted.
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
