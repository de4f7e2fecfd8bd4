//! The thread that moves packets: read what came, let out what is due, sleep until the next of either.
//!
//! It is a thread with `ppoll` and not a task because tokio's timers are a millisecond late and this one may not be.
//! The cores belong to the workload, so it sleeps, and what that costs packets is taken off their times, see
//! [`crate::compensation`]. It spins only when its timer fires sooner than it mostly does, for the difference.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use tokio::sync::oneshot;

use crate::compensation::{Compensation, Lateness};
use crate::condition::Condition;
use crate::counters::Counters;
use crate::outlet::Outlet;
use crate::parcel::{self, Parcel};
use crate::schedule::Schedule;
use crate::scheduling::{self, Scheduling};
use crate::tun::{Handover, Tun};

/// A running engine. Dropping it without [`Engine::stop`] leaves the thread running.
#[derive(Debug)]
pub(crate) struct Engine {
    commands: mpsc::Sender<Command>,
    wake: UnixStream,
    thread: JoinHandle<io::Result<()>>,
    ended: oneshot::Receiver<()>,
}

/// What the link says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    pub(crate) condition: Condition,
    pub(crate) counters: Counters,
    pub(crate) max_lateness: Duration,
    pub(crate) scheduling: Scheduling,
    pub(crate) compensation: Compensation,
}

enum Command {
    Switch {
        condition: Condition,
        seed: u64,
    },
    /// Let packets out by another way from now on.
    Exit(Box<Outlet>),
    /// What to take off the time of a packet that wakes the thread.
    ArrivalCost(Duration),
    Report(oneshot::Sender<Report>),
    Stop,
}

/// The engine's thread has ended, which it does only by an error.
#[derive(Debug, thiserror::Error)]
#[error("the shaper's packet thread has ended")]
pub(crate) struct EngineGone;

/// Packets read before those that are due get their turn.
const READ_BATCH: usize = 32;

/// Largest packet that IPv4 knows.
const MAX_PACKET_BYTES: usize = 65_535;

impl Engine {
    /// Starts the thread under the baseline.
    pub(crate) fn start(tun: Tun, outlet: Outlet) -> io::Result<Self> {
        let (commands, inbox) = mpsc::channel();
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let (alive, ended) = oneshot::channel();
        let mover = Mover {
            tun,
            outlet,
            woken,
            inbox,
            schedule: Schedule::new(Condition::BASELINE, 0),
            started: Instant::now(),
            max_lateness: Duration::ZERO,
            scheduling: Scheduling::Shared,
            arrival_cost: None,
            woken_by_packet: false,
            timer: Lateness::default(),
            buffer: vec![0; parcel::HEADER_BYTES + MAX_PACKET_BYTES],
        };
        let body = move || {
            let _alive: oneshot::Sender<()> = alive;
            mover.run()
        };
        let thread = std::thread::Builder::new().name("shaper-packets".to_owned()).spawn(body)?;
        Ok(Self { commands, wake, thread, ended })
    }

    /// New packets follow `condition`; counters restart.
    pub(crate) fn switch(&self, condition: Condition, seed: u64) -> Result<(), EngineGone> {
        self.tell(Command::Switch { condition, seed })
    }

    /// Packets leave by `outlet` from now on.
    pub(crate) fn let_out_by(&self, outlet: Outlet) -> Result<(), EngineGone> {
        self.tell(Command::Exit(Box::new(outlet)))
    }

    /// From now on `cost` is taken off the time of each packet that wakes the thread.
    pub(crate) fn take_off(&self, cost: Duration) -> Result<(), EngineGone> {
        self.tell(Command::ArrivalCost(cost))
    }

    /// The state after all commands before.
    pub(crate) async fn report(&self) -> Result<Report, EngineGone> {
        let (reply, report) = oneshot::channel();
        self.tell(Command::Report(reply))?;
        report.await.map_err(|_closed| EngineGone)
    }

    /// Waits until the thread ends by itself, which is never good.
    pub(crate) async fn ended(&mut self) {
        // Nothing is ever sent: the sender's drop is the message.
        let _closed = (&mut self.ended).await;
    }

    /// Lets all packets out at once and ends the thread; gives the error that ended it, if one did.
    pub(crate) fn stop(self) -> io::Result<()> {
        // A thread that has ended already needs no telling.
        let _gone = self.tell(Command::Stop);
        self.thread.join().unwrap_or_else(|_panic| Err(io::Error::other("the packet thread panicked")))
    }

    fn tell(&self, command: Command) -> Result<(), EngineGone> {
        self.commands.send(command).map_err(|_closed| EngineGone)?;
        match (&self.wake).write(&[0]) {
            // Full means that the thread is about to wake anyway.
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(EngineGone),
            _ => Ok(()),
        }
    }
}

/// What the thread owns.
struct Mover {
    tun: Tun,
    outlet: Outlet,
    woken: UnixStream,
    inbox: mpsc::Receiver<Command>,
    schedule: Schedule,
    started: Instant,
    max_lateness: Duration,
    scheduling: Scheduling,
    arrival_cost: Option<Duration>,
    /// Whether the next packet read is the one that ended the sleep.
    woken_by_packet: bool,
    timer: Lateness,
    buffer: Vec<u8>,
}

impl Mover {
    fn run(mut self) -> io::Result<()> {
        self.scheduling = scheduling::ask_for_realtime();
        // The kernel's default makes every sleep up to 50 µs longer.
        nix::sys::prctl::set_timerslack(1)?;
        loop {
            // First what the timer woke it for: reading takes time.
            self.let_out(self.started.elapsed());
            let drained = self.read_packets()?;
            self.let_out(self.started.elapsed());
            if self.obey().is_break() {
                self.let_out(Duration::MAX);
                return Ok(());
            }
            if drained {
                self.sleep()?;
            }
        }
    }

    /// Takes in what waits in the TUN device, but not so much that due packets become late; true when nothing is left.
    fn read_packets(&mut self) -> io::Result<bool> {
        for _ in 0..READ_BATCH {
            let Some(bytes) = self.tun.read(&mut self.buffer)? else { return Ok(true) };
            let waited = if std::mem::take(&mut self.woken_by_packet) { self.arrival_cost } else { None };
            let arrived = self.started.elapsed().saturating_sub(waited.unwrap_or_default());
            parcel::finish_checksum(bytes);
            if let Some(parcel) = Parcel::parse(bytes) {
                take_in(&mut self.schedule, arrived, parcel);
            }
        }
        Ok(false)
    }

    /// Also what would be due before a timer set now could fire.
    fn let_out(&mut self, now: Duration) {
        let Self { schedule, outlet, max_lateness, timer, .. } = self;
        schedule.release(now.saturating_add(timer.median()), |due, packet| {
            if now != Duration::MAX {
                *max_lateness = (*max_lateness).max(now.saturating_sub(due));
            }
            outlet.send(packet)
        });
    }

    fn obey(&mut self) -> std::ops::ControlFlow<()> {
        loop {
            match self.inbox.try_recv() {
                Ok(Command::Switch { condition, seed }) => {
                    self.schedule.switch(condition, seed);
                    let handover = if condition.keeps_bundles() { Handover::Bundles } else { Handover::Packets };
                    // A kernel that hands over no bundles has handed over packets from the beginning.
                    let _packets = self.tun.hand_over(handover);
                    self.max_lateness = Duration::ZERO;
                }
                Ok(Command::Exit(outlet)) => self.outlet = *outlet,
                Ok(Command::ArrivalCost(cost)) => self.arrival_cost = Some(cost),
                Ok(Command::Report(reply)) => {
                    // Who asked may have given up waiting.
                    let _gone = reply.send(self.report());
                }
                Ok(Command::Stop) | Err(mpsc::TryRecvError::Disconnected) => return std::ops::ControlFlow::Break(()),
                Err(mpsc::TryRecvError::Empty) => return std::ops::ControlFlow::Continue(()),
            }
        }
    }

    fn report(&self) -> Report {
        Report {
            condition: self.schedule.condition(),
            counters: self.schedule.counters(),
            max_lateness: self.max_lateness,
            scheduling: self.scheduling,
            compensation: Compensation {
                arrival_ns: self.arrival_cost.map(nanoseconds),
                timer_ns: nanoseconds(self.timer.median()),
            },
        }
    }

    /// Until a packet comes, one is due, or a command waits.
    fn sleep(&mut self) -> io::Result<()> {
        let alarm = self.schedule.next_deadline().map(|deadline| deadline.saturating_sub(self.timer.median()));
        let timeout = alarm.map(|alarm| alarm.saturating_sub(self.started.elapsed()));
        let mut waiting =
            [PollFd::new(self.tun.as_fd(), PollFlags::POLLIN), PollFd::new(self.woken.as_fd(), PollFlags::POLLIN)];
        let woken = match ppoll(&mut waiting, timeout.map(TimeSpec::from_duration), None) {
            Ok(count) => count > 0,
            Err(Errno::EINTR) => true,
            Err(error) => return Err(error.into()),
        };
        let [by_packet, by_command] = waiting.map(|waiting| waiting.any() == Some(true));
        self.woken_by_packet = by_packet;
        if by_command {
            self.forget_wakes()?;
        }
        match alarm {
            // A timeout of nothing is no test of the timer.
            Some(alarm) if !woken && timeout > Some(Duration::ZERO) => self.alarmed(alarm),
            _ => {}
        }
        Ok(())
    }

    /// Takes note of how late the timer was, and waits for the rest of what it was set early: a few microseconds, and
    /// never more than [`Lateness::median`].
    fn alarmed(&mut self, alarm: Duration) {
        let deadline = alarm + self.timer.median();
        self.timer.note(self.started.elapsed().saturating_sub(alarm));
        while self.started.elapsed() < deadline {
            std::hint::spin_loop();
        }
    }

    fn forget_wakes(&mut self) -> io::Result<()> {
        match self.woken.read(&mut [0; 64]) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }
}

/// A bundle that came before the condition changed to one that does not keep bundles is cut here.
fn take_in(schedule: &mut Schedule, arrived: Duration, parcel: Parcel<'_>) {
    if !parcel.is_bundle() || schedule.condition().keeps_bundles() {
        return schedule.accept(arrived, parcel);
    }
    for segment in parcel.segments() {
        Parcel::parse(&segment).into_iter().for_each(|packet| schedule.accept(arrived, packet));
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
