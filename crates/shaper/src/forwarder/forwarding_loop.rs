//! What the packet thread does: read what came, let out what is due, sleep until the next of either.
//!
//! It is a thread with `ppoll` and not a task because tokio's timers are a millisecond late and this one may not be.
//! The cores belong to the workload, so it sleeps, and what that costs packets is taken off their times, see
//! [`crate::compensation`]. It spins only when its timer fires sooner than it mostly does, for the difference.

use std::io::{self, Read as _};
use std::ops::ControlFlow;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use crate::compensation::{Compensation, TimerLateness};
use crate::egress::Egress;
use crate::forwarder::{Command, Report};
use crate::schedule::Schedule;
use crate::thread_scheduling;
use crate::thread_scheduling::{Rests, ThreadScheduling};
use crate::tun;
use crate::tun::{OffloadMode, Tun};
use crate::tun_packet;
use crate::tun_packet::TunPacket;
use model::Condition;

/// Packets read before those that are due get their turn.
const READ_BATCH: u32 = 32;

/// Largest packet that IPv4 knows.
const MAX_PACKET_BYTES: usize = 65_535;

/// What the thread owns.
pub(super) struct ForwardingLoop {
    tun: Tun,
    egress: Egress,
    woken: UnixStream,
    inbox: mpsc::Receiver<Command>,
    schedule: Schedule,
    started: Instant,
    scheduling: ThreadScheduling,
    rests: Rests,
    arrival_cost: Option<Duration>,
    /// Whether the next packet read is the one that ended the sleep.
    woken_by_packet: bool,
    timer: TimerLateness,
    buffer: Vec<u8>,
}

impl ForwardingLoop {
    pub(super) fn new(
        tun: Tun,
        egress: Egress,
        woken: UnixStream,
        inbox: mpsc::Receiver<Command>,
        memory_limit: u64,
    ) -> Self {
        Self {
            tun,
            egress,
            woken,
            inbox,
            schedule: Schedule::new(Condition::BASELINE, 0, memory_limit),
            started: Instant::now(),
            scheduling: ThreadScheduling::Normal,
            rests: Rests::default(),
            arrival_cost: None,
            woken_by_packet: false,
            timer: TimerLateness::default(),
            buffer: vec![0; tun_packet::HEADER_BYTES + MAX_PACKET_BYTES],
        }
    }

    /// Forwards packets until [`Command::Stop`]. Returns how many packets could not be sent at the end.
    pub(super) fn run(mut self) -> io::Result<u64> {
        self.scheduling = thread_scheduling::ask_for_realtime();
        // The kernel's default makes every sleep up to 50 µs longer.
        nix::sys::prctl::set_timerslack(1)?;
        loop {
            // First what the timer woke it for: reading takes time.
            self.let_out();
            let drained = self.read_packets()?;
            self.let_out();
            if self.obey()?.is_break() {
                return self.let_all_out();
            }
            if drained {
                self.sleep()?;
            }
            self.rest();
        }
    }

    /// Takes in what waits in the TUN device, but not so much that due packets become late; true when nothing is left.
    fn read_packets(&mut self) -> io::Result<bool> {
        for _ in 0..READ_BATCH {
            let Some(bytes) = self.tun.read(&mut self.buffer)? else { return Ok(true) };
            let waited = if std::mem::take(&mut self.woken_by_packet) { self.arrival_cost } else { None };
            let arrived = self.started.elapsed().saturating_sub(waited.unwrap_or_default());
            tun_packet::finish_checksum(bytes);
            if let Some(packet) = TunPacket::parse(bytes) {
                take_in(&mut self.schedule, arrived, packet);
            }
        }
        Ok(false)
    }

    /// Reads all packets that are queued in the TUN device now. Bounded by the queue's length, since more may arrive
    /// meanwhile.
    fn read_all(&mut self) -> io::Result<()> {
        for _ in 0..tun::QUEUE_PACKETS.div_ceil(READ_BATCH) {
            let drained = self.read_packets()?;
            self.let_out();
            if drained {
                break;
            }
        }
        Ok(())
    }

    /// Also what would be due before a timer set now could fire.
    fn let_out(&mut self) {
        let Self { schedule, egress, started, timer, .. } = self;
        let until = started.elapsed().saturating_add(timer.median());
        schedule.release(until, || started.elapsed(), |packet| egress.send(packet));
    }

    /// Sends all packets, before their time and without a lateness. Returns how many could not be sent.
    fn let_all_out(&mut self) -> io::Result<u64> {
        self.read_all()?;
        let Self { schedule, egress, .. } = self;
        Ok(schedule.release(Duration::MAX, || Duration::ZERO, |packet| egress.send(packet)))
    }

    fn obey(&mut self) -> io::Result<ControlFlow<()>> {
        loop {
            match self.inbox.try_recv() {
                Ok(Command::Switch { condition, seed }) => self.switch(condition, seed)?,
                Ok(Command::Exit(egress)) => self.egress = *egress,
                Ok(Command::ArrivalCost(cost)) => self.arrival_cost = Some(cost),
                Ok(Command::Report(reply)) => {
                    // Who asked may have given up waiting.
                    let _gone = reply.send(self.report());
                }
                Ok(Command::Stop) | Err(mpsc::TryRecvError::Disconnected) => return Ok(ControlFlow::Break(())),
                Err(mpsc::TryRecvError::Empty) => return Ok(ControlFlow::Continue(())),
            }
        }
    }

    /// Packets queued in the TUN device arrived under the previous condition, so they are read before the switch.
    fn switch(&mut self, condition: Condition, seed: u64) -> io::Result<()> {
        self.read_all()?;
        self.schedule.switch(condition, seed);
        let handover = if condition.keeps_gso_packets() { OffloadMode::Bundles } else { OffloadMode::Packets };
        // A kernel that hands over no GSO packets has handed over packets from the start.
        let _packets = self.tun.hand_over(handover);
        Ok(())
    }

    fn report(&self) -> Report {
        Report {
            condition: self.schedule.condition(),
            counters: self.schedule.counters(),
            max_lateness: self.schedule.max_lateness(),
            memory_used: self.schedule.memory_used(),
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
        let asleep = self.started.elapsed();
        let timeout = alarm.map(|alarm| alarm.saturating_sub(asleep));
        let mut waiting =
            [PollFd::new(self.tun.as_fd(), PollFlags::POLLIN), PollFd::new(self.woken.as_fd(), PollFlags::POLLIN)];
        let woken = match ppoll(&mut waiting, timeout.map(TimeSpec::from_duration), None) {
            Ok(count) => count > 0,
            Err(Errno::EINTR) => true,
            Err(error) => return Err(error.into()),
        };
        let awake = self.started.elapsed();
        self.rests.note(awake.saturating_sub(asleep));
        let [by_packet, by_command] = waiting.map(|waiting| waiting.any() == Some(true));
        self.woken_by_packet = by_packet;
        if by_command {
            self.forget_wakes()?;
        }
        match alarm {
            // A timeout of nothing is no test of the timer.
            Some(alarm) if !woken && timeout > Some(Duration::ZERO) => self.alarmed(alarm, awake),
            _ => {}
        }
        Ok(())
    }

    /// Takes note of how late the timer was, and waits for the rest of what it was set early: a few microseconds, and
    /// never more than [`TimerLateness::median`].
    fn alarmed(&mut self, alarm: Duration, awake: Duration) {
        let deadline = alarm + self.timer.median();
        self.timer.note(awake.saturating_sub(alarm));
        while self.started.elapsed() < deadline {
            std::hint::spin_loop();
        }
    }

    /// Sleeps briefly where no other thread could run otherwise.
    fn rest(&mut self) {
        let owed = self.rests.owed(self.started.elapsed());
        if !owed.is_zero() && self.scheduling == ThreadScheduling::Realtime && thread_scheduling::has_one_cpu() {
            std::thread::sleep(owed);
        }
    }

    fn forget_wakes(&mut self) -> io::Result<()> {
        match self.woken.read(&mut [0; 64]) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }
}

/// A GSO packet that came before the condition changed to one that does not keep GSO packets is cut here.
fn take_in(schedule: &mut Schedule, arrived: Duration, packet: TunPacket<'_>) {
    if !packet.is_gso() || schedule.condition().keeps_gso_packets() {
        return schedule.accept(arrived, packet);
    }
    for segment in packet.segments() {
        TunPacket::parse(&segment).into_iter().for_each(|packet| schedule.accept(arrived, packet));
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
