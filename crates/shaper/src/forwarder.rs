//! Handle of the packet thread: commands to it and reports from it.

mod forwarding_loop;

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::compensation::Compensation;
use crate::counters::Counters;
use crate::egress::Egress;
use crate::thread_scheduling::ThreadScheduling;
use crate::tun::Tun;
use model::Condition;

use forwarding_loop::ForwardingLoop;

/// A running engine. Dropping it without [`Forwarder::stop`] leaves the thread running.
#[derive(Debug)]
pub(crate) struct Forwarder {
    commands: mpsc::Sender<Command>,
    wake: UnixStream,
    thread: JoinHandle<io::Result<u64>>,
    ended: oneshot::Receiver<()>,
}

/// What the link says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    pub(crate) condition: Condition,
    pub(crate) counters: Counters,
    pub(crate) max_lateness: Duration,
    pub(crate) memory_used: u64,
    pub(crate) scheduling: ThreadScheduling,
    pub(crate) compensation: Compensation,
}

enum Command {
    Switch {
        condition: Condition,
        seed: u64,
    },
    /// Let packets out by another way from now on.
    Exit(Box<Egress>),
    /// What to take off the time of a packet that wakes the thread.
    ArrivalCost(Duration),
    Report(oneshot::Sender<Report>),
    Stop,
}

/// The engine's thread has ended, which it does only by an error.
#[derive(Debug, thiserror::Error)]
#[error("the shaper's packet thread has ended")]
pub(crate) struct ForwarderStopped;

impl Forwarder {
    /// Starts the thread under the baseline. `memory_limit` is in bytes, for the packets in the link.
    pub(crate) fn start(tun: Tun, egress: Egress, memory_limit: u64) -> io::Result<Self> {
        let (commands, inbox) = mpsc::channel();
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let (alive, ended) = oneshot::channel();
        let mover = ForwardingLoop::new(tun, egress, woken, inbox, memory_limit);
        let body = move || {
            let _alive: oneshot::Sender<()> = alive;
            mover.run()
        };
        let thread = std::thread::Builder::new().name("shaper-packets".to_owned()).spawn(body)?;
        Ok(Self { commands, wake, thread, ended })
    }

    /// New packets follow `condition`; counters restart.
    pub(crate) fn switch(&self, condition: Condition, seed: u64) -> Result<(), ForwarderStopped> {
        self.tell(Command::Switch { condition, seed })
    }

    /// Packets leave by `egress` from now on.
    pub(crate) fn let_out_by(&self, egress: Egress) -> Result<(), ForwarderStopped> {
        self.tell(Command::Exit(Box::new(egress)))
    }

    /// From now on `cost` is taken off the time of each packet that wakes the thread.
    pub(crate) fn take_off(&self, cost: Duration) -> Result<(), ForwarderStopped> {
        self.tell(Command::ArrivalCost(cost))
    }

    /// The state after all commands before.
    pub(crate) async fn report(&self) -> Result<Report, ForwarderStopped> {
        let (reply, report) = oneshot::channel();
        self.tell(Command::Report(reply))?;
        report.await.map_err(|_closed| ForwarderStopped)
    }

    /// Waits until the thread ends by itself, which is never good.
    pub(crate) async fn ended(&mut self) {
        // Nothing is ever sent: the sender's drop is the message.
        let _closed = (&mut self.ended).await;
    }

    /// Sends all packets at once, also those queued in the TUN device, and ends the thread. Returns how many packets
    /// could not be sent.
    ///
    /// # Errors
    /// The error that ended the thread.
    pub(crate) fn stop(self) -> io::Result<u64> {
        // A thread that has ended already needs no telling.
        let _gone = self.tell(Command::Stop);
        self.thread.join().unwrap_or_else(|_panic| Err(io::Error::other("the packet thread panicked")))
    }

    fn tell(&self, command: Command) -> Result<(), ForwarderStopped> {
        self.commands.send(command).map_err(|_closed| ForwarderStopped)?;
        match (&self.wake).write(&[0]) {
            // Full means that the thread is about to wake anyway.
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(ForwarderStopped),
            _ => Ok(()),
        }
    }
}
