//! `shop-server ready`: requests until the shop responds, for health checks and scripts.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use protocol::response::Categories;
use protocol::{FrameDecoder, Request, Response, encode_frame};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::cli::options::ReadyOptions;

/// Pause between attempts.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Timeout of one attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// Waits until the shop responds.
pub(super) fn wait(options: &ReadyOptions) -> anyhow::Result<()> {
    let deadline = Instant::now() + options.timeout.as_duration();
    loop {
        let Err(error) = attempt(options, ATTEMPT_TIMEOUT.min(remaining(deadline))) else { return Ok(()) };
        if remaining(deadline) <= POLL_INTERVAL {
            let ReadyOptions { address, timeout, .. } = options;
            return Err(error.context(format!("no response of a shop at {address} within {timeout}")));
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Returns the time until `deadline`, at least 1 ms: sockets reject a timeout of 0.
fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

/// Attempts each address of the name: localhost often has two, and the shop listens on one.
fn attempt(options: &ReadyOptions, timeout: Duration) -> anyhow::Result<()> {
    let mut outcome = Err(anyhow!("the host name has no address"));
    for address in options.address.to_socket_addrs().context("expected HOST:PORT")? {
        outcome = connect(address, timeout)
            .and_then(|stream| match options.tls.version() {
                None => request(stream, timeout),
                Some(_) => request(encrypted(stream, address.ip())?, timeout),
            })
            .with_context(|| address.to_string());
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

fn connect(address: SocketAddr, timeout: Duration) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, timeout).context("connecting")?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    Ok(stream)
}

/// Returns the stream of a TLS session, whose handshake happens when it is first used.
fn encrypted(stream: TcpStream, address: IpAddr) -> anyhow::Result<StreamOwned<ClientConnection, TcpStream>> {
    let session = ClientConnection::new(tls::unverified_client_config(), ServerName::from(address))?;
    Ok(StreamOwned::new(session, stream))
}

fn request(mut stream: impl Read + Write, timeout: Duration) -> anyhow::Result<()> {
    let frame = encode_frame(&serde_json::to_vec(&Request::all_categories())?)?;
    stream.write_all(&frame).context("sending the request")?;
    read_response(&mut stream, Instant::now() + timeout)?.into_result::<Categories>()?;
    Ok(())
}

fn read_response(stream: &mut impl Read, deadline: Instant) -> anyhow::Result<Response> {
    let mut decoder = FrameDecoder::default();
    let mut chunk = [0; 4096];
    loop {
        if let Some(payload) = decoder.next_frame()? {
            return serde_json::from_slice(payload).context("invalid response: expected one of a shop");
        }
        if Instant::now() >= deadline {
            bail!("response incomplete");
        }
        match stream.read(&mut chunk).context("waiting for the response")? {
            0 => bail!("connection closed without a response"),
            bytes => decoder.feed(&chunk[..bytes]),
        }
    }
}
