//! Traffic of the tests: echoes, numbered datagrams, a bulk transfer.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use crate::fixture::{FAR, Fixture, NEAR};

const TRAFFIC_TIMEOUT: Duration = Duration::from_secs(10);
const RECEIVE_BUFFER_BYTES: usize = 16 << 20;

/// Maximum time that a packet may be early. The shaper compensates its own cost, which is lower than measured when a
/// core is already awake.
pub(crate) const MAX_EARLINESS_MS: f64 = 0.1;

/// Starts an echo server in the far namespace, which runs until the process ends.
pub(crate) fn udp_echo(fixture: &Fixture, address: Ipv4Addr) -> SocketAddr {
    let socket = Fixture::inside(&fixture.far, || UdpSocket::bind((address, 0)).unwrap());
    let local = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 65_535];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _unreachable = socket.send_to(&buffer[..length], from);
        }
    });
    local
}

/// Measures round trips of single datagrams of `bytes` from the near namespace to an echo, in milliseconds, sorted.
pub(crate) fn round_trips_ms(fixture: &Fixture, echo: SocketAddr, bytes: usize, count: usize) -> Vec<f64> {
    let socket = Fixture::inside(&fixture.near, || UdpSocket::bind("0.0.0.0:0").unwrap());
    socket.connect(echo).unwrap();
    socket.set_read_timeout(Some(TRAFFIC_TIMEOUT)).unwrap();
    let mut buffer = vec![7; bytes];
    let mut trips: Vec<f64> = (0..count)
        .map(|_| {
            let sent = Instant::now();
            socket.send(&buffer).unwrap();
            assert_eq!(socket.recv(&mut buffer).unwrap(), bytes);
            sent.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    trips.sort_by(f64::total_cmp);
    trips
}

/// Sends `count` numbered datagrams from near to far; returns the numbers that arrive within a second.
pub(crate) fn numbers_received(fixture: &Fixture, count: u32) -> Vec<u32> {
    let numbered = Numbered::open(fixture);
    numbered.receiver.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    numbered.pass(0..count, usize::MAX)
}

/// Sockets for numbered datagrams from near to far.
pub(crate) struct Numbered {
    sender: UdpSocket,
    receiver: UdpSocket,
}

impl Numbered {
    pub(crate) fn open(fixture: &Fixture) -> Self {
        let receiver = Fixture::inside(&fixture.far, || UdpSocket::bind((FAR, 0)).unwrap());
        receiver.set_read_timeout(Some(TRAFFIC_TIMEOUT)).unwrap();
        // Drops in the receiver's buffer would be counted as loss of the link.
        setsockopt(&receiver, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES).unwrap();
        let sender = Fixture::inside(&fixture.near, || UdpSocket::bind((NEAR, 0)).unwrap());
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        Self { sender, receiver }
    }

    pub(crate) fn send(&self, numbers: Range<u32>) {
        for number in numbers {
            self.sender.send(&number.to_be_bytes()).unwrap();
        }
    }

    /// Returns the numbers that arrive, until there are `enough` or the receive times out.
    pub(crate) fn receive(&self, enough: usize) -> Vec<u32> {
        let receive = || {
            let mut buffer = [0; 4];
            self.receiver.recv(&mut buffer).ok().map(|_length| u32::from_be_bytes(buffer))
        };
        std::iter::from_fn(receive).take(enough).collect()
    }

    /// Sends the numbers and receives at the same time.
    pub(crate) fn pass(&self, numbers: Range<u32>, enough: usize) -> Vec<u32> {
        std::thread::scope(|scope| {
            let collector = scope.spawn(|| self.receive(enough));
            self.send(numbers);
            collector.join().unwrap()
        })
    }
}

/// Opens a TCP connection from near to an echo in the far namespace, with `TCP_NODELAY`.
pub(crate) fn tcp_echo(fixture: &Fixture) -> TcpStream {
    let (near, mut far) = tcp_pair(fixture);
    std::thread::spawn(move || {
        let mut byte = [0];
        while far.read_exact(&mut byte).is_ok() && far.write_all(&byte).is_ok() {}
    });
    near
}

/// Returns the fastest of ten one-byte exchanges over a connection, in milliseconds.
pub(crate) fn fastest_exchange_ms(stream: &mut TcpStream) -> f64 {
    let exchanges = (0..10).map(|_| {
        let sent = Instant::now();
        stream.write_all(&[1]).unwrap();
        stream.read_exact(&mut [0]).unwrap();
        sent.elapsed().as_secs_f64() * 1e3
    });
    exchanges.fold(f64::INFINITY, f64::min)
}

/// Returns the bits per second that arrive in the far namespace while the near one sends `bytes` over TCP.
pub(crate) fn goodput(fixture: &Fixture, bytes: usize) -> f64 {
    let (mut near, mut far) = tcp_pair(fixture);
    let sender = std::thread::spawn(move || near.write_all(&vec![0; bytes]).unwrap());
    let mut buffer = vec![0; 64 * 1024];
    // The clock starts with the first arrival: connecting and the first packet's latency are not part of the rate.
    let mut received = 0;
    let first = far.read(&mut buffer).unwrap();
    let started = Instant::now();
    loop {
        match far.read(&mut buffer).unwrap() {
            0 => break,
            length => received += length,
        }
    }
    let elapsed = started.elapsed();
    sender.join().unwrap();
    assert_eq!(first + received, bytes);
    received as f64 * 8.0 / elapsed.as_secs_f64()
}

/// Sends bytes that depend on their position from near to far over TCP while `meanwhile` runs, and at least `at_least`
/// of them. Checks the received bytes and returns their number.
pub(crate) fn transfer(fixture: &Fixture, at_least: usize, meanwhile: impl FnOnce()) -> usize {
    transfer_to(fixture, FAR, at_least, meanwhile)
}

/// Same as [`transfer`], to another address of the far namespace.
pub(crate) fn transfer_to(fixture: &Fixture, address: Ipv4Addr, at_least: usize, meanwhile: impl FnOnce()) -> usize {
    let (mut near, mut far) = tcp_pair_at(fixture, address);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut sent = 0;
            while sent < at_least || !done.load(Ordering::Relaxed) {
                let block: Vec<u8> = (sent..sent + BLOCK_BYTES).map(byte_at).collect();
                near.write_all(&block).unwrap();
                sent += block.len();
            }
            near.shutdown(Shutdown::Write).unwrap();
            sent
        });
        let receiver = scope.spawn(|| {
            let (mut received, mut buffer) = (0, vec![0; BLOCK_BYTES]);
            loop {
                let length = far.read(&mut buffer).unwrap();
                if length == 0 {
                    return received;
                }
                let is_expected = |(at, byte): (usize, &u8)| *byte == byte_at(received + at);
                assert!(buffer[..length].iter().enumerate().all(is_expected), "wrong bytes after {received}");
                received += length;
            }
        });
        meanwhile();
        done.store(true, Ordering::Relaxed);
        let received = receiver.join().unwrap();
        assert_eq!(sender.join().unwrap(), received);
        received
    })
}

const BLOCK_BYTES: usize = 128 * 1024;

/// The sequence repeats only after 251 × 256 bytes, which is not a multiple of any segment length.
fn byte_at(position: usize) -> u8 {
    (position % 251 + position / 256) as u8
}

fn tcp_pair(fixture: &Fixture) -> (TcpStream, TcpStream) {
    tcp_pair_at(fixture, FAR)
}

fn tcp_pair_at(fixture: &Fixture, address: Ipv4Addr) -> (TcpStream, TcpStream) {
    let listener = Fixture::inside(&fixture.far, || TcpListener::bind((address, 0)).unwrap());
    let address = listener.local_addr().unwrap();
    let near = Fixture::inside(&fixture.near, || TcpStream::connect_timeout(&address, TRAFFIC_TIMEOUT).unwrap());
    let (far, _) = listener.accept().unwrap();
    for stream in [&near, &far] {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(TRAFFIC_TIMEOUT)).unwrap();
    }
    (near, far)
}
