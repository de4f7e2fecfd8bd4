//! `shaper run`: runs a shaper until a signal or the end of stdin, and serves the other commands.

use std::io::Read as _;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::NAME;
use crate::control_protocol::{Event, EventKind, Request, Response, SOCKET_NAME, Status};
use crate::shaper::Shaper;
use model::Condition;
use program_main::{json_line, warning};

/// Options of `shaper run`.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) device: String,
    pub(crate) condition: Condition,
    pub(crate) seed: u64,
    /// Memory limit for packets in the link, in bytes.
    pub(crate) memory_limit: u64,
    pub(crate) lifetime: Lifetime,
}

/// Triggers of a shutdown in addition to SIGTERM, SIGINT and SIGHUP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Nothing.
    UntilSignal,
    /// The end of stdin: the shaper does not outlive the process that started it.
    UntilStdinEof,
}

/// Timeout of one command, while the others wait.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// Time between attempts after `accept` failed, for example because no file descriptor is free.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(100);

const MAX_REQUEST_BYTES: u64 = 64 * 1024;

/// Runs the shaper until it must stop. Restores the unshaped link before it returns, also after an error.
pub(crate) async fn run(options: Options) -> Result<()> {
    // The socket comes first: only the process that holds it changes rules.
    let listener = listen()?;
    let mut stop = Stop::install(options.lifetime)?;
    let mut shaper = Shaper::start(&options.device, options.memory_limit).await?;
    let outcome = serve_commands(&mut shaper, &options, &listener, &mut stop).await;
    let restored = shaper.stop().await;
    outcome.and(restored)
}

async fn serve_commands(
    shaper: &mut Shaper,
    options: &Options,
    listener: &UnixListener,
    stop: &mut Stop,
) -> Result<()> {
    shaper.set(options.condition, options.seed).await?;
    json_line(&Event { event: EventKind::Ready, status: shaper.status().await? })?;
    loop {
        tokio::select! {
            () = stop.requested() => return Ok(()),
            () = shaper.failed() => bail!("the forwarder stopped unexpectedly: was the TUN device deleted?"),
            stream = accept(listener) => handle(shaper, stream).await,
        }
    }
}

/// Waits for the next client. Errors do not end the shaper: a new error is reported, then `accept` is retried.
async fn accept(listener: &UnixListener) -> UnixStream {
    let mut reported = None;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                if reported.replace(error.raw_os_error()) != Some(error.raw_os_error()) {
                    warning(NAME, format_args!("cannot accept a command: {error}; retrying"));
                }
                tokio::time::sleep(ACCEPT_RETRY_INTERVAL).await;
            }
        }
    }
}

/// Reads one request and writes one response. Errors of a client do not end the shaper.
async fn handle(shaper: &mut Shaper, mut stream: UnixStream) {
    let response = match read_request(&mut stream).await {
        Ok(request) => match execute(shaper, request).await {
            Ok(status) => Response::Status(Box::new(status)),
            Err(error) => Response::Error(format!("{error:#}")),
        },
        Err(error) => Response::Error(format!("{error:#}")),
    };
    if let Ok(mut line) = serde_json::to_vec(&response) {
        line.push(b'\n');
        // The client may have exited; the next `show` reports the status.
        let _gone = tokio::time::timeout(REQUEST_TIMEOUT, stream.write_all(&line)).await;
    }
}

async fn read_request(stream: &mut UnixStream) -> Result<Request> {
    let peer = stream.peer_cred()?.uid();
    if peer != 0 && peer != nix::unistd::geteuid().as_raw() {
        bail!("user {peer} is not permitted to control this shaper: only root and the user who started it are");
    }
    let mut line = String::new();
    let mut reader = BufReader::new(stream.take(MAX_REQUEST_BYTES));
    tokio::time::timeout(REQUEST_TIMEOUT, reader.read_line(&mut line)).await??;
    Ok(serde_json::from_str(&line)?)
}

async fn execute(shaper: &mut Shaper, request: Request) -> Result<Status> {
    if let Request::Set { condition, seed } = request {
        shaper.set(condition, seed.map_or_else(random_seed, Ok)?).await?;
    }
    shaper.status().await
}

/// Returns a random seed, for a command without one. `shaper show` prints it, so the run can be repeated.
pub(crate) fn random_seed() -> Result<u64> {
    Ok(getrandom::u64()?)
}

fn listen() -> Result<UnixListener> {
    UnixListener::bind(format!("\0{SOCKET_NAME}")).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "a shaper is already running in this network namespace: change its condition with 'shaper set', \
             or end it with SIGTERM ('shaper show' prints its pid)"
        ),
        _ => anyhow::Error::new(error).context(format!("cannot listen on the abstract socket '{SOCKET_NAME}'")),
    })
}

/// Triggers of a graceful shutdown.
struct Stop {
    signals: [Signal; 3],
    stdin_closed: Option<oneshot::Receiver<()>>,
}

impl Stop {
    fn install(lifetime: Lifetime) -> Result<Self> {
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        let [terminate, interrupt, hangup] = kinds.map(signal);
        let stdin_closed = match lifetime {
            Lifetime::UntilSignal => None,
            Lifetime::UntilStdinEof => Some(watch_stdin()?),
        };
        Ok(Self { signals: [terminate?, interrupt?, hangup?], stdin_closed })
    }

    async fn requested(&mut self) {
        let [terminate, interrupt, hangup] = &mut self.signals;
        let stdin_closed = async {
            match &mut self.stdin_closed {
                // The sender never sends; its drop is the signal.
                Some(closed) => drop(closed.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
            () = stdin_closed => {}
        }
    }
}

/// Reads stdin in a separate thread: at exit, tokio would wait for a blocked read.
fn watch_stdin() -> Result<oneshot::Receiver<()>> {
    let (open, closed) = oneshot::channel::<()>();
    std::thread::Builder::new().name("shaper-stdin".to_owned()).spawn(move || {
        let _open = open;
        let mut ignored = [0; 256];
        while std::io::stdin().read(&mut ignored).is_ok_and(|length| length > 0) {}
    })?;
    Ok(closed)
}
