//! The agent: connects to the hub, again and again, and does what is asked through each connection.
//!
//! A connection leaves nothing behind: when it ends all programs are killed and the directory is emptied.

mod file;
mod output;
mod program;
mod programs;
mod session;
mod work_dir;

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use program_main::warning;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

use crate::NAME;
use crate::messages::Hello;
use crate::socket;
use crate::socket::Heartbeat;
use crate::token::Token;
use programs::Programs;
use session::{Heard, Shared};
use work_dir::WorkDir;

/// Pauses between attempts to connect: the first, and the longest that they grow to.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How long an attempt to connect may take. The name's address may be another soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What an agent is told on its command line.
#[derive(Debug)]
pub(crate) struct Options {
    /// The hub's host and port.
    pub(crate) hub: String,
    /// The number that the driver knows it by.
    pub(crate) agent_id: u32,
    /// The host it runs on.
    pub(crate) host: String,
    /// Where programs run; emptied.
    pub(crate) work_dir: PathBuf,
    /// What the hub wants to see.
    pub(crate) token: Token,
    /// The hub's heartbeat.
    pub(crate) heartbeat: Heartbeat,
}

/// Runs until SIGTERM or SIGINT. Must be called on the process's first thread: programs die with the thread that
/// started them.
///
/// # Errors
/// When the directory can't be used or signals can't be waited for.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let Options { hub, agent_id, host, work_dir, token, heartbeat } = options;
    let work_dir = WorkDir::open(&work_dir)?;
    let hello = Hello { agent_id, host, version: protocol::VERSION.to_owned(), token };
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let programs = Arc::new(Programs::default());
    let shared = Shared { hello, heartbeat, work_dir, programs: Arc::clone(&programs) };
    tokio::select! {
        never = serve(&hub, &shared) => match never {},
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    programs.kill_all();
    Ok(())
}

/// Connection after connection.
async fn serve(hub: &str, shared: &Shared) -> Infallible {
    let (first_pause, longest_pause) = PAUSES;
    let (mut pause, mut noted) = (first_pause, String::new());
    loop {
        let (heard, why) = match connect(hub).await {
            Ok(stream) => session::hold(shared, stream).await,
            Err(why) => (Heard::Nothing, why),
        };
        if heard == Heard::Hub {
            pause = first_pause;
        }
        // Once for many attempts in vain: the hub may not be there for minutes.
        let why = format!("{why:#}");
        if noted != why {
            warning(NAME, format_args!("{hub}: {why}; trying again"));
            noted = why;
        }
        sleep(pause).await;
        pause = longest_pause.min(2 * pause);
    }
}

async fn connect(hub: &str) -> anyhow::Result<TcpStream> {
    let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(hub)).await;
    let stream = connected.map_err(|_| anyhow!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))?;
    let stream = stream.context("cannot connect")?;
    // Without a listener TCP may connect a port of this host to itself, which would then keep the hub from it.
    ensure!(stream.local_addr()? != stream.peer_addr()?, "cannot connect: no listener");
    socket::tune(&stream)?;
    Ok(stream)
}
