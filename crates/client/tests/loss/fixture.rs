//! Two namespaces connected by a veth pair: shop and shaper in one, the client in the other. Removed when dropped.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Address of the shop.
pub(crate) const SERVER: &str = "10.79.0.1";
const CLIENT: &str = "10.79.0.2";

pub(crate) struct Fixture {
    pub(crate) server: String,
    pub(crate) client: String,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("loss-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // Created before the namespaces, so that they are removed if a step fails.
        let fixture = Self { server: format!("{prefix}-server"), client: format!("{prefix}-client") };
        let Self { server, client } = &fixture;
        ip(&format!("netns add {server}"));
        ip(&format!("netns add {client}"));
        ip(&format!("link add eth0 netns {server} type veth peer name eth0 netns {client}"));
        for (namespace, address) in [(server, SERVER), (client, CLIENT)] {
            ip(&format!("-n {namespace} addr add {address}/24 dev eth0"));
            ip(&format!("-n {namespace} link set lo up"));
            ip(&format!("-n {namespace} link set eth0 up"));
        }
        fixture
    }

    /// Returns the command that runs a program in a namespace. `ip` execs it: the process id is the program's.
    pub(crate) fn command(namespace: &str, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace]).arg(program).stdin(Stdio::null());
        command
    }

    /// Returns the segments that a namespace's kernel retransmitted, by its counter: data, SYNs, SYN-ACKs and FINs.
    pub(crate) fn retransmitted(namespace: &str) -> u64 {
        let output = Self::command(namespace, "cat").arg("/proc/net/snmp").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut lines = text.lines().filter(|line| line.starts_with("Tcp:")).map(str::split_whitespace);
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let (_, value) = names.zip(values).find(|(name, _)| *name == "RetransSegs").unwrap();
        value.parse().unwrap()
    }
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}

impl Drop for Fixture {
    fn drop(&mut self) {
        for name in [&self.server, &self.client] {
            let _absent = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

/// A running program of this test, killed when dropped.
pub(crate) struct Running(Child);

impl Running {
    /// Starts `shop-server` or `shaper` and waits for its event `ready`.
    pub(crate) fn start(namespace: &str, program: &str, arguments: &[OsString]) -> Self {
        let mut command = Fixture::command(namespace, std::env::current_exe().unwrap());
        command.arg(program).args(arguments).env("SHOP_ADMIN_PASSWORD", "boss-password");
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let running = Self(child);
        assert!(line.contains(r#""event":"ready""#), "{program} {arguments:?}: '{line}'");
        running
    }

    /// Stops the program gracefully.
    pub(crate) fn stop(mut self) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), Signal::SIGTERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}
