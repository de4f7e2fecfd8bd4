//! The agent: connects to the hub, reconnects when the connection ends, and executes the requests of each connection.
//!
//! Nothing outlives a connection: at its end all programs are killed and the directory is emptied.

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
use session::{SessionEnd, Shared};
use work_dir::WorkDir;

/// Time before the first new attempt to connect; it doubles with each attempt, up to [`MAX_BACKOFF`].
const MIN_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// Timeout of one attempt to connect. The next attempt resolves the name again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Options of `testbed-agent serve`.
#[derive(Debug)]
pub(crate) struct Options {
    /// Host and port of the hub.
    pub(crate) hub: String,
    /// Number by which the driver identifies this agent.
    pub(crate) agent_id: u32,
    /// Host on which this agent runs.
    pub(crate) host: String,
    /// Directory of the programs; its content is removed.
    pub(crate) work_dir: PathBuf,
    /// Secret of the run, sent to the hub.
    pub(crate) token: Token,
    /// Heartbeat of the hub.
    pub(crate) heartbeat: Heartbeat,
}

/// Runs the agent until SIGTERM or SIGINT. Must be called on the process's first thread: programs are killed with the
/// thread that started them.
///
/// # Errors
/// The directory cannot be used or signal handlers cannot be installed.
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

/// Serves one connection after the other.
async fn serve(hub: &str, shared: &Shared) -> Infallible {
    let (mut backoff, mut last_warning) = (MIN_BACKOFF, String::new());
    loop {
        let reason = match connect(hub).await {
            Ok(stream) => {
                let SessionEnd { was_accepted, reason } = session::serve(shared, stream).await;
                if was_accepted {
                    backoff = MIN_BACKOFF;
                }
                reason
            }
            Err(reason) => reason,
        };
        // Once for many failed attempts: the hub may be absent for minutes.
        let reason = format!("{reason:#}");
        if last_warning != reason {
            warning(NAME, format_args!("{hub}: {reason}; reconnecting"));
            last_warning = reason;
        }
        sleep(backoff).await;
        backoff = MAX_BACKOFF.min(2 * backoff);
    }
}

async fn connect(hub: &str) -> anyhow::Result<TcpStream> {
    let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(hub)).await;
    let stream = connected.map_err(|_| anyhow!("cannot connect within {} s", CONNECT_TIMEOUT.as_secs()))?;
    let stream = stream.context("cannot connect")?;
    // Without a listener TCP may connect a local port to itself, and the hub could then not bind it.
    ensure!(stream.local_addr()? != stream.peer_addr()?, "cannot connect: no listener");
    socket::tune(&stream)?;
    Ok(stream)
}
