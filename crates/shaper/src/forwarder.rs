//! Handle of the forwarder, the thread that delays packets: commands to it and reports from it.

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

/// A running forwarder. Dropping it without [`Forwarder::stop`] leaves the thread running.
#[derive(Debug)]
pub(crate) struct Forwarder {
    commands: mpsc::Sender<Command>,
    wake: UnixStream,
    thread: JoinHandle<io::Result<u64>>,
    ended: oneshot::Receiver<()>,
}

/// State of the link and its forwarder.
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
    /// Replaces the sockets that packets are sent by.
    SetEgress(Box<Egress>),
    /// Sets the time that is subtracted from the delay of a packet that wakes the thread.
    SetArrivalCost(Duration),
    Report(oneshot::Sender<Report>),
    Stop,
}

/// The forwarder has stopped because of an error.
#[derive(Debug, thiserror::Error)]
#[error("the shaper's forwarder has stopped")]
pub(crate) struct ForwarderStopped;

impl Forwarder {
    /// Starts the thread with the baseline. `memory_limit` is in bytes, for the packets in the link.
    pub(crate) fn start(tun: Tun, egress: Egress, memory_limit: u64) -> io::Result<Self> {
        let (commands, inbox) = mpsc::channel();
        let (wake, wakeups) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        wakeups.set_nonblocking(true)?;
        let (alive, ended) = oneshot::channel();
        let forwarding_loop = ForwardingLoop::new(tun, egress, wakeups, inbox, memory_limit);
        let body = move || {
            let _alive: oneshot::Sender<()> = alive;
            forwarding_loop.run()
        };
        let thread = std::thread::Builder::new().name("shaper-packets".to_owned()).spawn(body)?;
        Ok(Self { commands, wake, thread, ended })
    }

    /// Applies `condition` to new packets and resets the counters.
    pub(crate) fn switch(&self, condition: Condition, seed: u64) -> Result<(), ForwarderStopped> {
        self.send(Command::Switch { condition, seed })
    }

    /// Sends packets by `egress` from now on.
    pub(crate) fn set_egress(&self, egress: Egress) -> Result<(), ForwarderStopped> {
        self.send(Command::SetEgress(Box::new(egress)))
    }

    /// Subtracts `cost` from the delay of each packet that wakes the thread, from now on.
    pub(crate) fn set_arrival_cost(&self, cost: Duration) -> Result<(), ForwarderStopped> {
        self.send(Command::SetArrivalCost(cost))
    }

    /// Returns the state after all previous commands.
    pub(crate) async fn report(&self) -> Result<Report, ForwarderStopped> {
        let (reply, report) = oneshot::channel();
        self.send(Command::Report(reply))?;
        report.await.map_err(|_closed| ForwarderStopped)
    }

    /// Waits until the thread ends, which it does only because of an error.
    pub(crate) async fn ended(&mut self) {
        // The sender never sends; its drop is the signal.
        let _closed = (&mut self.ended).await;
    }

    /// Sends all packets immediately, also those queued in the TUN device, and ends the thread. Returns the number of
    /// packets that could not be sent.
    ///
    /// # Errors
    /// The error that ended the thread.
    pub(crate) fn stop(self) -> io::Result<u64> {
        // The thread may have ended already.
        let _gone = self.send(Command::Stop);
        self.thread.join().unwrap_or_else(|_panic| Err(io::Error::other("the forwarder panicked")))
    }

    fn send(&self, command: Command) -> Result<(), ForwarderStopped> {
        self.commands.send(command).map_err(|_closed| ForwarderStopped)?;
        match (&self.wake).write(&[0]) {
            // A full socket wakes the thread, too.
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(ForwarderStopped),
            _ => Ok(()),
        }
    }
}
