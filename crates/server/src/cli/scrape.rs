//! `shop-server metrics`: prints the metrics of a running server, for hosts without an HTTP client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};

/// Timeout of connecting and of each read and write.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Prints the metrics that are served at `address`.
pub(super) fn print(address: SocketAddr) -> anyhow::Result<()> {
    let text = scrape(address).with_context(|| format!("reading the metrics at {address} (--metrics-listen)"))?;
    std::io::stdout().write_all(text.as_bytes()).context("writing to stdout")
}

fn scrape(address: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    match response.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
        _ => bail!("unexpected response '{}'", response.lines().next().unwrap_or_default()),
    }
}
