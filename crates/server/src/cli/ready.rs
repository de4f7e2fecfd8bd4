//! `shop-server ready`: speaks the protocol until it is answered, for health checks and for scripts that wait.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use protocol::response::Categories;
use protocol::{FrameDecoder, Request, Response, encode_frame};

use crate::cli::options::ReadyOptions;

/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest time that one try may take of the whole.
const TRY: Duration = Duration::from_secs(2);

/// Returns when the shop has answered.
pub(super) fn wait(options: &ReadyOptions) -> anyhow::Result<()> {
    let deadline = Instant::now() + options.timeout.as_duration();
    loop {
        let Err(error) = ask(&options.address, TRY.min(left(deadline))) else { return Ok(()) };
        if left(deadline) <= PAUSE {
            let seconds = options.timeout;
            return Err(error.context(format!("no shop answered at {} within {seconds}", options.address)));
        }
        std::thread::sleep(PAUSE);
    }
}

/// The time until `deadline`; never zero, which sockets would take for "no limit".
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

/// One try at each address that the name has; a name such as localhost often has two, of which one is served.
fn ask(address: &str, limit: Duration) -> anyhow::Result<()> {
    let mut outcome = Err(anyhow!("the name has no address"));
    for address in address.to_socket_addrs().context("expected HOST:PORT")? {
        outcome = ask_one(address, limit).with_context(|| address.to_string());
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

fn ask_one(address: SocketAddr, limit: Duration) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, limit).context("connecting")?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(&encode_frame(&serde_json::to_vec(&Request::ViewCategories {})?)?).context("asking")?;
    read_response(&mut stream, Instant::now() + limit)?.into_result::<Categories>()?;
    Ok(())
}

fn read_response(stream: &mut TcpStream, deadline: Instant) -> anyhow::Result<Response> {
    let mut decoder = FrameDecoder::default();
    let mut chunk = [0; 4096];
    loop {
        if let Some(payload) = decoder.next_frame()? {
            return serde_json::from_slice(payload).context("the answer is no response of a shop");
        }
        if Instant::now() >= deadline {
            bail!("the answer did not become complete");
        }
        match stream.read(&mut chunk).context("waiting for the answer")? {
            0 => bail!("the connection was closed without an answer"),
            bytes => decoder.feed(&chunk[..bytes]),
        }
    }
}
