//! Loop of the forwarder: reads arrived packets, sends due packets, sleeps until the next of either.
//!
//! It is a thread with `ppoll` and not a task: tokio's timers have a resolution of a millisecond. It sleeps because the
//! workload needs the cores. The delay that sleeping adds to packets is subtracted from their times, see
//! [`crate::compensation`]. It spins only when its timer fires earlier than the median, for the difference.

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
use crate::thread_scheduling::{CpuYield, ThreadScheduling};
use crate::tun;
use crate::tun::{OffloadMode, Tun};
use crate::tun_packet;
use crate::tun_packet::TunPacket;
use model::Condition;

/// Maximum number of packets read before due packets are sent again.
const READ_BATCH: u32 = 32;

/// Size of the largest IPv4 packet.
const MAX_PACKET_BYTES: usize = 65_535;

/// State of the thread.
pub(super) struct ForwardingLoop {
    tun: Tun,
    egress: Egress,
    wakeups: UnixStream,
    inbox: mpsc::Receiver<Command>,
    schedule: Schedule,
    started: Instant,
    scheduling: ThreadScheduling,
    cpu_yield: CpuYield,
    arrival_cost: Option<Duration>,
    /// Whether the next packet read ended the last sleep.
    woke_for_packet: bool,
    timer: TimerLateness,
    buffer: Vec<u8>,
}

impl ForwardingLoop {
    pub(super) fn new(
        tun: Tun,
        egress: Egress,
        wakeups: UnixStream,
        inbox: mpsc::Receiver<Command>,
        memory_limit: u64,
    ) -> Self {
        Self {
            tun,
            egress,
            wakeups,
            inbox,
            schedule: Schedule::new(Condition::BASELINE, 0, memory_limit),
            started: Instant::now(),
            scheduling: ThreadScheduling::Normal,
            cpu_yield: CpuYield::default(),
            arrival_cost: None,
            woke_for_packet: false,
            timer: TimerLateness::default(),
            buffer: vec![0; tun_packet::HEADER_BYTES + MAX_PACKET_BYTES],
        }
    }

    /// Forwards packets until [`Command::Stop`]. Returns the number of packets that could not be sent at the end.
    pub(super) fn run(mut self) -> io::Result<u64> {
        self.scheduling = thread_scheduling::request_realtime();
        // The kernel's default prolongs every sleep by up to 50 µs.
        nix::sys::prctl::set_timerslack(1)?;
        loop {
            // Due packets first: reading takes time.
            self.send_due();
            let drained = self.read_packets()?;
            self.send_due();
            if self.handle_commands()?.is_break() {
                return self.send_all();
            }
            if drained {
                self.sleep()?;
            }
            self.yield_cpu();
        }
    }

    /// Reads queued packets from the TUN device, at most [`READ_BATCH`] so that due packets are not late. Returns
    /// whether the device is empty.
    fn read_packets(&mut self) -> io::Result<bool> {
        for _ in 0..READ_BATCH {
            let Some(bytes) = self.tun.read(&mut self.buffer)? else { return Ok(true) };
            let wake_up_cost = if std::mem::take(&mut self.woke_for_packet) { self.arrival_cost } else { None };
            let arrived = self.started.elapsed().saturating_sub(wake_up_cost.unwrap_or_default());
            tun_packet::complete_checksum(bytes);
            if let Some(packet) = TunPacket::parse(bytes) {
                enqueue(&mut self.schedule, arrived, packet);
            }
        }
        Ok(false)
    }

    /// Reads all packets that are queued in the TUN device. Bounded by the queue's length: packets may arrive faster
    /// than they are read.
    fn read_all(&mut self) -> io::Result<()> {
        for _ in 0..tun::QUEUE_PACKETS.div_ceil(READ_BATCH) {
            let drained = self.read_packets()?;
            self.send_due();
            if drained {
                break;
            }
        }
        Ok(())
    }

    /// Also sends packets that are due before a timer set now could fire.
    fn send_due(&mut self) {
        let Self { schedule, egress, started, timer, .. } = self;
        let until = started.elapsed().saturating_add(timer.median());
        schedule.release(until, || started.elapsed(), |packet| egress.send(packet));
    }

    /// Sends all packets before they are due, without recording a lateness. Returns the number that could not be sent.
    fn send_all(&mut self) -> io::Result<u64> {
        self.read_all()?;
        let Self { schedule, egress, .. } = self;
        Ok(schedule.release(Duration::MAX, || Duration::ZERO, |packet| egress.send(packet)))
    }

    fn handle_commands(&mut self) -> io::Result<ControlFlow<()>> {
        loop {
            match self.inbox.try_recv() {
                Ok(Command::Switch { condition, seed }) => self.switch(condition, seed)?,
                Ok(Command::SetEgress(egress)) => self.egress = *egress,
                Ok(Command::SetArrivalCost(cost)) => self.arrival_cost = Some(cost),
                Ok(Command::Report(reply)) => {
                    // The caller may have stopped waiting.
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
        let mode = if condition.keeps_gso_packets() { OffloadMode::Gso } else { OffloadMode::WirePackets };
        // A kernel without this offload delivers wire packets in any case.
        let _unsupported = self.tun.set_offload_mode(mode);
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

    /// Sleeps until a packet arrives, a packet is due, or a command is waiting.
    fn sleep(&mut self) -> io::Result<()> {
        let wake_at = self.schedule.next_deadline().map(|deadline| deadline.saturating_sub(self.timer.median()));
        let asleep = self.started.elapsed();
        let timeout = wake_at.map(|wake_at| wake_at.saturating_sub(asleep));
        let mut waiting =
            [PollFd::new(self.tun.as_fd(), PollFlags::POLLIN), PollFd::new(self.wakeups.as_fd(), PollFlags::POLLIN)];
        let woken = match ppoll(&mut waiting, timeout.map(TimeSpec::from_duration), None) {
            Ok(count) => count > 0,
            Err(Errno::EINTR) => true,
            Err(error) => return Err(error.into()),
        };
        let awake = self.started.elapsed();
        self.cpu_yield.record_wait(awake.saturating_sub(asleep));
        let [packet_ready, command_ready] = waiting.map(|waiting| waiting.any() == Some(true));
        self.woke_for_packet = packet_ready;
        if command_ready {
            self.drain_wakeups()?;
        }
        match wake_at {
            // With a timeout of zero the timer was not used.
            Some(wake_at) if !woken && timeout > Some(Duration::ZERO) => self.on_timer(wake_at, awake),
            _ => {}
        }
        Ok(())
    }

    /// Records how late the timer was, and spins until the deadline: for a few microseconds, at most
    /// [`TimerLateness::median`].
    fn on_timer(&mut self, wake_at: Duration, awake: Duration) {
        let deadline = wake_at + self.timer.median();
        self.timer.record(awake.saturating_sub(wake_at));
        while self.started.elapsed() < deadline {
            std::hint::spin_loop();
        }
    }

    /// Sleeps briefly if no other thread could run otherwise.
    fn yield_cpu(&mut self) {
        let due = self.cpu_yield.due(self.started.elapsed());
        if !due.is_zero() && self.scheduling == ThreadScheduling::Realtime && thread_scheduling::has_one_cpu() {
            std::thread::sleep(due);
        }
    }

    fn drain_wakeups(&mut self) -> io::Result<()> {
        match self.wakeups.read(&mut [0; 64]) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }
}

/// Segments a GSO packet that arrived before a switch to a condition that applies to each wire packet.
fn enqueue(schedule: &mut Schedule, arrived: Duration, packet: TunPacket<'_>) {
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
