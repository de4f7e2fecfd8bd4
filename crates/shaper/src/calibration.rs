//! Measures, on this host and through the real packet thread, how much longer than its delay a packet takes.
//!
//! Probes go into the TUN device as packets of programs do, but the packet thread lets them out by the loopback device
//! instead of the shaped one: nothing of it is seen on the wire. The kernel stamps their arrival. The same datagrams
//! sent straight over the loopback device say what of that time any packet takes, shaper or not.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::compensation::arrival_cost;
use crate::tun;

/// The device that probes leave by.
pub(crate) const EGRESS_DEVICE: &str = "lo";

/// The delay that probes must have in the link: long enough for the packet thread to fall asleep.
pub(crate) const DELAY: Duration = Duration::from_millis(2);

/// A tenth of a second in all.
const PROBES: u8 = 35;

/// The first probes also teach the packet thread how late its timer is.
const WARM_UP_PROBES: u8 = 10;

/// Longer than any probe takes on a host that is worth measuring.
const PROBE_TIMEOUT: Duration = Duration::from_millis(100);

/// A destination that is nobody's (RFC 5737), for the routing of probes into the TUN device; their headers say loopback.
const UNUSED_ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 0);

/// What to take off the time of a packet that wakes the packet thread.
///
/// The TUN device must be up, and the packet thread must delay by [`DELAY`] and let out by [`EGRESS_DEVICE`].
///
/// # Errors
/// When probes cannot be sent or do not come back, as where the loopback device is down.
pub(crate) fn measure_arrival_cost() -> io::Result<Duration> {
    let probe = Probe::open()?;
    let mut extra = Vec::new();
    for nth in 0..PROBES {
        let direct = probe.time_direct(nth)?;
        let shaped = probe.time_shaped(nth)?;
        if nth >= WARM_UP_PROBES {
            extra.push(shaped.saturating_sub(DELAY).saturating_sub(direct));
        }
    }
    arrival_cost(extra).ok_or_else(|| io::Error::other("no probe counted"))
}

/// The sockets of the measurement.
struct Probe {
    tun_socket: Socket,
    sender: UdpSocket,
    receiver: UdpSocket,
    port: u16,
}

/// IPv4 header, UDP header, and the probe's number.
const PROBE_BYTES: usize = 20 + 8 + 1;

impl Probe {
    fn open() -> io::Result<Self> {
        let tun_socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
        tun_socket.bind_device(Some(tun::NAME.as_bytes()))?;
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        receiver.set_read_timeout(Some(PROBE_TIMEOUT))?;
        setsockopt(&receiver, sockopt::ReceiveTimestampns, &true)?;
        let address = receiver.local_addr()?;
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        sender.connect(address)?;
        Ok(Self { tun_socket, sender, receiver, port: address.port() })
    }

    fn time_direct(&self, nth: u8) -> io::Result<Duration> {
        let sent = now()?;
        self.sender.send(&[nth])?;
        Ok(self.arrival(nth)?.saturating_sub(sent))
    }

    fn time_shaped(&self, nth: u8) -> io::Result<Duration> {
        let packet = self.packet(nth);
        let sent = now()?;
        self.tun_socket.send_to(&packet, &SockAddr::from(SocketAddr::V4(UNUSED_ADDRESS)))?;
        Ok(self.arrival(nth)?.saturating_sub(sent))
    }

    /// When the kernel got probe `nth`; others that are still about are not it.
    fn arrival(&self, nth: u8) -> io::Result<Duration> {
        loop {
            let (number, stamp) = self.receive()?;
            if number == nth {
                return stamp.ok_or_else(|| io::Error::other("the kernel stamps no arrivals"));
            }
        }
    }

    fn receive(&self) -> io::Result<(u8, Option<Duration>)> {
        let mut number = [0];
        let mut control = nix::cmsg_space!(TimeSpec);
        let mut slices = [IoSliceMut::new(&mut number)];
        let socket = self.receiver.as_raw_fd();
        let received = recvmsg::<SockaddrIn>(socket, &mut slices, Some(&mut control), MsgFlags::empty())?;
        let stamp = received.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(time) => Some(Duration::from(time)),
            _ => None,
        });
        Ok((number[0], stamp))
    }

    /// A datagram from loopback to the receiver (RFC 791, section 3.1; RFC 768); the kernel fills in the IP checksum,
    /// and a UDP checksum of 0 is none.
    fn packet(&self, nth: u8) -> [u8; PROBE_BYTES] {
        let mut packet = [0; PROBE_BYTES];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&(PROBE_BYTES as u16).to_be_bytes());
        packet[8] = 64;
        packet[9] = libc::IPPROTO_UDP as u8;
        packet[12..16].copy_from_slice(&Ipv4Addr::LOCALHOST.octets());
        packet[16..20].copy_from_slice(&Ipv4Addr::LOCALHOST.octets());
        packet[20..22].copy_from_slice(&self.port.to_be_bytes());
        packet[22..24].copy_from_slice(&self.port.to_be_bytes());
        packet[24..26].copy_from_slice(&((PROBE_BYTES - 20) as u16).to_be_bytes());
        packet[PROBE_BYTES - 1] = nth;
        packet
    }
}

/// On the clock of the kernel's stamps.
fn now() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_REALTIME)?.into())
}
