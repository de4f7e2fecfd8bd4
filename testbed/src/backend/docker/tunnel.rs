//! Access to a Docker daemon by ssh: one `ssh` process forwards its socket to a local socket, for all connections.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::backend::last_lines;
use crate::backend::local_processes::tie_to_driver;
use crate::store::run_lock::RunLock;

/// Default path of the daemon's socket on the remote host.
const SOCKET: &str = "/var/run/docker.sock";
/// Options of ssh: no prompts, an exit when the daemon is unreachable, and no connection sharing, which would leave a
/// process that the driver does not own.
const OPTIONS: [&str; 5] =
    ["BatchMode=yes", "ExitOnForwardFailure=yes", "ServerAliveInterval=5", "ControlMaster=no", "ControlPath=none"];
/// Timeout of the connection.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Interval between two checks for the connection.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A running `ssh`, killed when dropped.
pub(super) struct Tunnel {
    _ssh: Child,
    /// Lock in the directory of the socket. Removed when dropped, or by `testbed clean`.
    lock: RunLock,
}

/// Parts of `ssh://USER@HOST:PORT/SOCKET`.
#[derive(Debug, PartialEq, Eq)]
struct Target<'a> {
    host: &'a str,
    port: Option<&'a str>,
    socket: String,
}

impl<'a> Target<'a> {
    fn of(url: &'a str) -> anyhow::Result<Self> {
        Self::parse(url).with_context(|| format!("'{url}': expected ssh://USER@HOST[:PORT][/SOCKET]"))
    }

    fn parse(url: &'a str) -> Option<Self> {
        let rest = url.strip_prefix("ssh://")?;
        let (authority, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
        let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
        let socket = path.filter(|path| !path.is_empty()).map_or_else(|| SOCKET.to_owned(), |path| format!("/{path}"));
        let is_option = host.starts_with('-');
        (!host.is_empty() && !is_option).then_some(Self { host, port, socket })
    }
}

impl Tunnel {
    /// Checks the form of a URL.
    pub(super) fn check(url: &str) -> anyhow::Result<()> {
        Target::of(url).map(drop)
    }

    /// Connects by ssh, which must not ask for a password.
    ///
    /// # Errors
    /// The end of ssh's output if it fails.
    pub(super) async fn open(url: &str) -> anyhow::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let target = Target::of(url)?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let lock = RunLock::take(&format!("ssh-{}-{number}", std::process::id()))?;
        let socket = socket_in(&lock);
        let log_path = lock.directory().join("ssh.log");
        let log = std::fs::File::create(&log_path).with_context(|| format!("creating {}", log_path.display()))?;
        let mut command = Command::new("ssh");
        command.args(["-N", "-T"]).args(OPTIONS.iter().flat_map(|option| ["-o", option]));
        command.arg("-L").arg(format!("{}:{}", socket.display(), target.socket));
        command.args(target.port.into_iter().flat_map(|port| ["-p", port])).arg(target.host);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        tie_to_driver(&mut command, None);
        let mut ssh = command.spawn().context("starting ssh (is it installed?)")?;
        wait_until_forwarded(&mut ssh, &socket, &log_path)
            .await
            .with_context(|| format!("connecting to {} by ssh", target.host))?;
        Ok(Self { _ssh: ssh, lock })
    }

    /// Returns the path of the local socket.
    pub(super) fn socket(&self) -> PathBuf {
        socket_in(&self.lock)
    }
}

fn socket_in(lock: &RunLock) -> PathBuf {
    lock.directory().join("docker.sock")
}

async fn wait_until_forwarded(ssh: &mut Child, socket: &Path, log_path: &Path) -> anyhow::Result<()> {
    let deadline = Instant::now() + START_TIMEOUT;
    while UnixStream::connect(socket).await.is_err() {
        if let Some(status) = ssh.try_wait().context("checking whether ssh is running")? {
            // If the log cannot be read, the status is all there is to report.
            let log = std::fs::read_to_string(log_path).unwrap_or_default();
            bail!("ssh exited ({status}): {}", last_lines(&log, 3));
        }
        if Instant::now() >= deadline {
            bail!("no connection within {} s", START_TIMEOUT.as_secs());
        }
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_host_port_and_socket() {
        let target = |host, port, socket: &str| Some(Target { host, port, socket: socket.to_owned() });
        for (url, expected) in [
            ("ssh://vm-a", target("vm-a", None, SOCKET)),
            ("ssh://user@vm-a:2222", target("user@vm-a", Some("2222"), SOCKET)),
            ("ssh://vm-a/run/user/1000/docker.sock", target("vm-a", None, "/run/user/1000/docker.sock")),
            ("ssh://", None),
            ("ssh://-oProxyCommand=x", None),
            ("tcp://vm-a", None),
        ] {
            assert_eq!(Target::parse(url), expected, "{url}");
        }
    }
}
