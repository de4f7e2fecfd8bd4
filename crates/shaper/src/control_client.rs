//! Client side of the control socket: sends a request to the running shaper, returns its status.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};

use anyhow::{Context as _, Result, bail};

use crate::control_protocol::{Request, Response, SOCKET_NAME, Status};

/// Sends one request to the shaper of this network namespace and waits for its status.
pub(crate) fn send_request(request: &Request) -> Result<Status> {
    let mut stream = connect()?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line).context("cannot send to the shaper")?;
    let mut response = String::new();
    BufReader::new(stream).read_line(&mut response).context("cannot read the shaper's response")?;
    match serde_json::from_str(&response)
        .with_context(|| format!("invalid response from the shaper: '{}'", response.trim_end()))?
    {
        Response::Status(status) => Ok(*status),
        Response::Error(error) => bail!(error),
    }
}

fn connect() -> Result<UnixStream> {
    let address = SocketAddr::from_abstract_name(SOCKET_NAME)?;
    UnixStream::connect_addr(&address).map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            anyhow::anyhow!(
                "no shaper is running in this network namespace: start one with 'shaper run --device DEVICE'"
            )
        }
        _ => anyhow::Error::new(error).context("cannot connect to the shaper"),
    })
}
