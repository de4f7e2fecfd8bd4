//! Added delay: the same datagrams over the unshaped link and the emulated one, in turns, so that what else the host
//! does falls on both.
//!
//! A datagram carries the time before its `send`; the far node's kernel stamps its arrival, and the near node sees its
//! echo. So each gives two figures: one way, which is the link and nothing else, and the round trip of a program, which
//! holds two wake-ups of programs besides.

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
const TURNS: u32 = 4;
const PACKETS_A_TURN: u32 = 275;
const GAP: Duration = Duration::from_micros(2_300);
/// Small: its own time on the link must not show.
const PACKET_BYTES: usize = 64;

/// What of a row the shaper is held to. A program's own wake-up is most of a round trip's tail, and a busy host does
/// what it likes with everybody's.
#[derive(Clone, Copy)]
enum Held {
    /// Its median, its fastest and its slowest hundredth.
    Wholly,
    /// Its median.
    ByMedian,
    /// Nothing: it is there to be known.
    Not,
}

/// Of each datagram that came back, in milliseconds.
#[derive(Default)]
pub(crate) struct Trips {
    pub(crate) one_way: Vec<f64>,
    pub(crate) round_trip: Vec<f64>,
}

pub(crate) fn rows(fixture: &Fixture, emulators: &[Emulator], effort: Effort) -> Vec<Row> {
    let mut rows: Vec<_> = DELAYS_MS.into_iter().flat_map(|delay| rows_of(fixture, emulators, effort, delay)).collect();
    let trips = busy_cores(|| trips(fixture, emulators, effort, DELAY_UNDER_LOAD_MS));
    let what = format!("delay {DELAY_UNDER_LOAD_MS} ms while other programs want every core, one way");
    rows.push(row(emulators, &trips, DELAY_UNDER_LOAD_MS, what, |trips| &trips.one_way, Held::Not));
    rows
}

/// Does `work` while every core has an ordinary program that never sleeps.
fn busy_cores<T>(work: impl FnOnce() -> T) -> T {
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
    let what = |way: &str| format!("delay {delay_ms} ms, {way}");
    [
        row(emulators, &trips, delay_ms, what("one way"), |trips| &trips.one_way, Held::Wholly),
        row(emulators, &trips, delay_ms, what("round trip"), |trips| &trips.round_trip, Held::ByMedian),
    ]
}

/// Of each emulator.
fn trips(fixture: &Fixture, emulators: &[Emulator], effort: Effort, delay_ms: u32) -> Vec<Trips> {
    let mut trips: Vec<Trips> = emulators.iter().map(|_| Trips::default()).collect();
    for _ in 0..TURNS {
        for (emulator, trips) in emulators.iter().zip(&mut trips) {
            let _in_force = emulator.impose(fixture, &format!(r#"{{"delay":"{delay_ms}ms"}}"#), 1);
            measure(fixture, effort.of(PACKETS_A_TURN), trips);
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
    held: Held,
) -> Row {
    let bare = pick(&trips[0]);
    let goal = match held {
        Held::Wholly => "±0.05, ≥ −0.05, ≤ 0.3 ms",
        Held::ByMedian => "±0.05 ms",
        Held::Not => "",
    };
    let cell = |(emulator, trips)| cell(emulator, bare, pick(trips), delay_ms.into(), held);
    Row {
        what: format!("{what}: error of median, p1, p99"),
        goal: goal.to_owned(),
        cells: emulators.iter().zip(trips).map(cell).collect(),
    }
}

fn cell(emulator: &Emulator, bare: &[f64], trips: &[f64], delay_ms: f64, held: Held) -> Cell {
    if emulator.is_bare() {
        return Cell::without_goal(format!("({:.3}, p99 {:.3} ms)", median(bare), quantile(bare, 0.99)));
    }
    // Each percentile against the same one of the unshaped link: its own tail is not the emulator's.
    let [middle, early, late] =
        [0.5, 0.01, 0.99].map(|share| quantile(trips, share) - delay_ms - quantile(bare, share));
    let text = format!("{middle:+.3}, {early:+.3}, {late:+.3} ms (n={})", trips.len());
    match held {
        Held::Wholly => Cell::judged(text, middle.abs() <= 0.05 && early >= -0.05 && late <= 0.3),
        Held::ByMedian => Cell::judged(text, middle.abs() <= 0.05),
        Held::Not => Cell::without_goal(text),
    }
}

/// Sends `count` datagrams, some milliseconds apart, and adds what comes back.
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

/// Sends each datagram back with the time at which the kernel got it, until none comes.
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
        let back = now_ns();
        let time = |at: usize| u64::from_be_bytes(buffer[at..at + 8].try_into().unwrap());
        trips.one_way.push((time(8) - time(0)) as f64 / 1e6);
        trips.round_trip.push((back - time(0)) as f64 / 1e6);
    }
    trips
}

/// On the clock of the kernel's stamps.
pub(crate) fn now_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::CLOCK_REALTIME).unwrap())
}

fn nanoseconds(time: TimeSpec) -> u64 {
    u64::try_from(Duration::from(time).as_nanos()).unwrap()
}
