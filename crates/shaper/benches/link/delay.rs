//! Added delay: the same datagrams over the unshaped link and the emulated one, alternately, so that other load of the
//! host affects both.
//!
//! A datagram carries the time before its `send`; the far node's kernel timestamps its arrival, and the near node
//! receives its echo. Each datagram results in two times: the one-way time of the link alone, and the round trip of a
//! program, which includes two wake-ups of programs.

use std::io::{IoSlice, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

use crate::Effort;
use crate::emulator::Emulator;
use crate::fixture::{FAR, Fixture, NEAR};
use crate::statistics::{median, quantile};
use crate::table::{Cell, Row};

const DELAYS_MS: [u32; 4] = [1, 10, 50, 100];
const DELAY_UNDER_LOAD_MS: u32 = 10;
const ROUNDS: u32 = 4;
const PACKETS_PER_ROUND: u32 = 275;
const GAP: Duration = Duration::from_micros(2_300);
/// Payload, small so that its transmission time is negligible.
const PACKET_BYTES: usize = 64;

/// Values of a row that have a target. The tail of a round trip is mostly the wake-up of programs, and on an
/// overloaded host all values depend on the load.
#[derive(Clone, Copy)]
enum Judged {
    /// Median, p1 and p99.
    AllPercentiles,
    /// Median only.
    Median,
    /// None: for information.
    None,
}

/// Times of each datagram that was echoed, in milliseconds.
#[derive(Default)]
pub(crate) struct Trips {
    pub(crate) one_way: Vec<f64>,
    pub(crate) round_trip: Vec<f64>,
}

pub(crate) fn rows(fixture: &Fixture, emulators: &[Emulator], effort: Effort) -> Vec<Row> {
    let mut rows: Vec<_> = DELAYS_MS.into_iter().flat_map(|delay| rows_of(fixture, emulators, effort, delay)).collect();
    let trips = with_busy_cores(|| trips(fixture, emulators, effort, DELAY_UNDER_LOAD_MS));
    let what = format!("delay {DELAY_UNDER_LOAD_MS} ms during CPU load on every core, one way");
    rows.push(row(emulators, &trips, DELAY_UNDER_LOAD_MS, what, |trips| &trips.one_way, Judged::None));
    rows
}

/// Runs `work` while a thread with normal scheduling spins on every core.
fn with_busy_cores<T>(work: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let result = work();
        stop.store(true, Ordering::Relaxed);
        result
    })
}

fn rows_of(fixture: &Fixture, emulators: &[Emulator], effort: Effort, delay_ms: u32) -> [Row; 2] {
    let trips = trips(fixture, emulators, effort, delay_ms);
    let what = |path: &str| format!("delay {delay_ms} ms, {path}");
    [
        row(emulators, &trips, delay_ms, what("one way"), |trips| &trips.one_way, Judged::AllPercentiles),
        row(emulators, &trips, delay_ms, what("round trip"), |trips| &trips.round_trip, Judged::Median),
    ]
}

/// Measures the times with each emulator.
fn trips(fixture: &Fixture, emulators: &[Emulator], effort: Effort, delay_ms: u32) -> Vec<Trips> {
    let mut trips: Vec<Trips> = emulators.iter().map(|_| Trips::default()).collect();
    for _ in 0..ROUNDS {
        for (emulator, trips) in emulators.iter().zip(&mut trips) {
            let _in_force = emulator.impose(fixture, &format!(r#"{{"delay":"{delay_ms}ms"}}"#), 1);
            measure(fixture, effort.of(PACKETS_PER_ROUND), trips);
        }
    }
    trips
}

fn row(
    emulators: &[Emulator],
    trips: &[Trips],
    delay_ms: u32,
    what: String,
    pick: fn(&Trips) -> &Vec<f64>,
    judged: Judged,
) -> Row {
    let unshaped = pick(&trips[0]);
    let target = match judged {
        Judged::AllPercentiles => "±0.05, ≥ −0.05, ≤ 0.3 ms",
        Judged::Median => "±0.05 ms",
        Judged::None => "",
    };
    let cell = |(emulator, trips)| cell(emulator, unshaped, pick(trips), delay_ms.into(), judged);
    Row {
        what: format!("{what}: error of median, p1, p99"),
        target: target.to_owned(),
        cells: emulators.iter().zip(trips).map(cell).collect(),
    }
}

fn cell(emulator: &Emulator, unshaped: &[f64], trips: &[f64], delay_ms: f64, judged: Judged) -> Cell {
    if emulator.is_unshaped() {
        return Cell::without_target(format!("({:.3}, p99 {:.3} ms)", median(unshaped), quantile(unshaped, 0.99)));
    }
    // Each percentile minus that of the unshaped link, whose own tail is not an error of the emulator.
    let [middle, early, late] = [0.5, 0.01, 0.99].map(|p| quantile(trips, p) - delay_ms - quantile(unshaped, p));
    let text = format!("{middle:+.3}, {early:+.3}, {late:+.3} ms (n={})", trips.len());
    match judged {
        Judged::AllPercentiles => Cell::judged(text, middle.abs() <= 0.05 && early >= -0.05 && late <= 0.3),
        Judged::Median => Cell::judged(text, middle.abs() <= 0.05),
        Judged::None => Cell::without_target(text),
    }
}

/// Sends `count` datagrams at intervals of [`GAP`] and adds their times to `trips`.
fn measure(fixture: &Fixture, count: u32, trips: &mut Trips) {
    let far = Fixture::inside(&fixture.far, || UdpSocket::bind((FAR, 0)).unwrap());
    let near = Fixture::inside(&fixture.near, || UdpSocket::bind((NEAR, 0)).unwrap());
    setsockopt(&far, sockopt::ReceiveTimestampns, &true).unwrap();
    near.connect(far.local_addr().unwrap()).unwrap();
    for socket in [&near, &far] {
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    }
    std::thread::scope(|scope| {
        scope.spawn(|| echo(&far));
        let receiver = scope.spawn(|| receive(&near, count));
        let started = Instant::now();
        for nth in 0..count {
            std::thread::sleep((started + GAP * nth).saturating_duration_since(Instant::now()));
            let mut packet = [0; PACKET_BYTES];
            packet[..8].copy_from_slice(&now_ns().to_be_bytes());
            near.send(&packet).unwrap();
        }
        let received = receiver.join().unwrap();
        trips.one_way.extend(received.one_way);
        trips.round_trip.extend(received.round_trip);
    });
}

/// Sends each datagram back with the time at which the kernel received it, until none arrives.
fn echo(socket: &UdpSocket) {
    let mut buffer = [0; PACKET_BYTES];
    let mut control = nix::cmsg_space!(TimeSpec);
    loop {
        let (stamp, from) = {
            let mut slices = [IoSliceMut::new(&mut buffer)];
            let received =
                recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::empty());
            let Ok(received) = received else { return };
            let stamp = received.cmsgs().unwrap().find_map(|message| match message {
                ControlMessageOwned::ScmTimestampns(time) => Some(time),
                _ => None,
            });
            (stamp.unwrap(), received.address.unwrap())
        };
        buffer[8..16].copy_from_slice(&nanoseconds(stamp).to_be_bytes());
        sendmsg(socket.as_raw_fd(), &[IoSlice::new(&buffer)], &[], MsgFlags::empty(), Some(&from)).unwrap();
    }
}

fn receive(socket: &UdpSocket, count: u32) -> Trips {
    let mut trips = Trips::default();
    let mut buffer = [0; PACKET_BYTES];
    for _ in 0..count {
        if socket.recv(&mut buffer).is_err() {
            break;
        }
        let received_ns = now_ns();
        let time = |offset: usize| u64::from_be_bytes(buffer[offset..offset + 8].try_into().unwrap());
        trips.one_way.push((time(8) - time(0)) as f64 / 1e6);
        trips.round_trip.push((received_ns - time(0)) as f64 / 1e6);
    }
    trips
}

/// Returns the time on the clock of the kernel's timestamps.
pub(crate) fn now_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::CLOCK_REALTIME).unwrap())
}

fn nanoseconds(time: TimeSpec) -> u64 {
    u64::try_from(Duration::from(time).as_nanos()).unwrap()
}
