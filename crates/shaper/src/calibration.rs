//! Measures on this host, with the real forwarder, how much longer than its delay a packet takes.
//!
//! Probes enter the TUN device like the packets of programs, but the forwarder sends them by the loopback device
//! instead of the shaped one: no probe appears on the wire. The kernel timestamps their arrival. The same datagrams
//! sent directly over the loopback device measure the time that a packet takes without the shaper.

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

/// Device that probes are sent by.
pub(crate) const EGRESS_DEVICE: &str = "lo";

/// Delay of probes in the link: long enough for the forwarder to fall asleep.
pub(crate) const DELAY: Duration = Duration::from_millis(2);

/// Number of probes, which take a tenth of a second in total.
const PROBES: u8 = 35;

/// Number of first probes that are ignored, while the forwarder measures the lateness of its timer.
const WARM_UP_PROBES: u8 = 10;

/// Timeout of a probe, longer than any takes on a host that is not overloaded.
const PROBE_TIMEOUT: Duration = Duration::from_millis(100);

/// Reserved address (RFC 5737) that routes probes into the TUN device; the destination in their headers is loopback.
const UNUSED_ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 0);

/// Measures the compensation of a packet that wakes the forwarder.
///
/// The TUN device must be up, and the forwarder must delay packets by [`DELAY`] and send by [`EGRESS_DEVICE`].
///
/// # Errors
/// Probes cannot be sent or do not arrive, for example because the loopback device is down.
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
    arrival_cost(extra).ok_or_else(|| io::Error::other("no probe was measured"))
}

/// Sockets of the measurement.
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

    /// Returns when the kernel received probe `nth`; ignores late arrivals of previous probes.
    fn arrival(&self, nth: u8) -> io::Result<Duration> {
        loop {
            let (number, stamp) = self.receive()?;
            if number == nth {
                return stamp.ok_or_else(|| io::Error::other("the kernel does not timestamp arrivals"));
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

    /// Builds a datagram from loopback to the receiver (RFC 791, section 3.1; RFC 768). The kernel fills in the IP
    /// checksum; a UDP checksum of 0 means none.
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

/// Returns the time on the clock of the kernel's timestamps.
fn now() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_REALTIME)?.into())
}
