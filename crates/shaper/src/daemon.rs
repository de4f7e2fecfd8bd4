//! `shaper run`: holds a shaper until it is told to end, and answers the other commands meanwhile.

use std::io::Read as _;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::control_protocol::{Event, EventKind, Request, Response, SOCKET_NAME, Status};
use crate::output;
use crate::shaper::Shaper;
use model::Condition;

/// How `shaper run` was asked to run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) device: String,
    pub(crate) condition: Condition,
    pub(crate) seed: u64,
    /// Memory limit for packets in the link, in bytes.
    pub(crate) memory_limit: u64,
    pub(crate) lifetime: Lifetime,
}

/// What ends the shaper besides SIGTERM, SIGINT and SIGHUP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Nothing.
    UntilSignal,
    /// The end of standard input, so that it can't outlive who started it.
    UntilStdinEof,
}

/// Longest that one command may keep the others waiting with its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// Time between attempts after `accept` failed, as it does while no file descriptor is left.
const ACCEPT_INTERVAL: Duration = Duration::from_millis(100);

const MAX_REQUEST_BYTES: u64 = 64 * 1024;

/// Runs until told to end; whatever ends it, the unshaped link is restored first.
pub(crate) async fn run(options: Options) -> Result<()> {
    // The socket comes first: who has it may touch rules, so no two shapers ever do.
    let listener = listen()?;
    let mut stop = Stop::install(options.lifetime)?;
    let mut shaper = Shaper::start(&options.device, options.memory_limit).await?;
    let outcome = live(&mut shaper, &options, &listener, &mut stop).await;
    let restored = shaper.stop().await;
    outcome.and(restored)
}

async fn live(shaper: &mut Shaper, options: &Options, listener: &UnixListener, stop: &mut Stop) -> Result<()> {
    shaper.set(options.condition, options.seed).await?;
    output::line(&Event { event: EventKind::Ready, status: shaper.status().await? })?;
    loop {
        tokio::select! {
            () = stop.requested() => return Ok(()),
            () = shaper.failed() => bail!("the packet thread ended; was the TUN device deleted?"),
            stream = accept(listener) => serve(shaper, stream).await,
        }
    }
}

/// Waits for the next client. Errors do not end the shaper: a new one is reported, then `accept` is retried.
async fn accept(listener: &UnixListener) -> UnixStream {
    let mut reported = None;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                if reported.replace(error.raw_os_error()) != Some(error.raw_os_error()) {
                    output::warning(&format!("cannot accept a command: {error}; retrying"));
                }
                tokio::time::sleep(ACCEPT_INTERVAL).await;
            }
        }
    }
}

/// One request, one answer. A client that misbehaves harms only itself.
async fn serve(shaper: &mut Shaper, mut stream: UnixStream) {
    let response = match request(&mut stream).await {
        Ok(request) => match carry_out(shaper, request).await {
            Ok(status) => Response::Status(Box::new(status)),
            Err(error) => Response::Error(format!("{error:#}")),
        },
        Err(error) => Response::Error(format!("{error:#}")),
    };
    if let Ok(mut line) = serde_json::to_vec(&response) {
        line.push(b'\n');
        // Who asked may be gone; the next `show` tells the state.
        let _gone = tokio::time::timeout(REQUEST_TIMEOUT, stream.write_all(&line)).await;
    }
}

async fn request(stream: &mut UnixStream) -> Result<Request> {
    let peer = stream.peer_cred()?.uid();
    if peer != 0 && peer != nix::unistd::geteuid().as_raw() {
        bail!("user {peer} may not command this shaper: only root and the user who started it may");
    }
    let mut line = String::new();
    let mut reader = BufReader::new(stream.take(MAX_REQUEST_BYTES));
    tokio::time::timeout(REQUEST_TIMEOUT, reader.read_line(&mut line)).await??;
    Ok(serde_json::from_str(&line)?)
}

async fn carry_out(shaper: &mut Shaper, request: Request) -> Result<Status> {
    if let Request::Set { condition, seed } = request {
        shaper.set(condition, seed.map_or_else(random_seed, Ok)?).await?;
    }
    shaper.status().await
}

/// A seed for who gave none; `shaper show` tells it, so that the run can be repeated.
pub(crate) fn random_seed() -> Result<u64> {
    Ok(getrandom::u64()?)
}

fn listen() -> Result<UnixListener> {
    UnixListener::bind(format!("\0{SOCKET_NAME}")).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "a shaper already runs in this network namespace; change it with 'shaper set' or end it with SIGTERM ('shaper show' tells its pid)"
        ),
        _ => anyhow::Error::new(error).context(format!("cannot listen on the abstract socket '{SOCKET_NAME}'")),
    })
}

/// Everything that ends a shaper in order.
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
                // The sender's drop is the message.
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

/// A thread of its own: tokio would wait for a blocked read of standard input before it lets the process end.
fn watch_stdin() -> Result<oneshot::Receiver<()>> {
    let (open, closed) = oneshot::channel::<()>();
    std::thread::Builder::new().name("shaper-stdin".to_owned()).spawn(move || {
        let _open = open;
        let mut ignored = [0; 256];
        while std::io::stdin().read(&mut ignored).is_ok_and(|length| length > 0) {}
    })?;
    Ok(closed)
}
