//! Shared by the tests: a real shop in a thread, the real client program, and its CSV.
#![allow(dead_code, reason = "each test file uses a part of this")]

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;

use model::sample::{COLUMNS, Sample};
use server::config::{Admin, Catalogue, Config, Durability, HashCost};
use server::secret::Secret;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub(crate) const ADMIN: &str = "boss";
pub(crate) const ADMIN_PASSWORD: &str = "boss-password";

/// A shop that stops when this is dropped.
pub(crate) struct Shop {
    pub(crate) accounts: SocketAddr,
    pub(crate) shop: SocketAddr,
    shutdown: CancellationToken,
    thread: Option<JoinHandle<()>>,
    directory: TempDir,
}

impl Shop {
    /// Starts a shop with the demonstration catalogue, `stock` units of each product, and cheap password hashing.
    pub(crate) fn start(stock: i64) -> Self {
        Self::start_with(stock, |_| {})
    }

    /// Starts such a shop after a change of its configuration.
    pub(crate) fn start_with(stock: i64, change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = config(directory.path(), stock);
        change(&mut config);
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let (sender, addresses) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let accounts = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let shop = TcpListener::bind("127.0.0.1:0").await.unwrap();
                sender.send((accounts.local_addr().unwrap(), shop.local_addr().unwrap())).unwrap();
                server::run(server::Listeners { accounts, shop, metrics: None }, config, stop).await.unwrap();
            });
        });
        let (accounts, shop) = addresses.recv().unwrap();
        Self { accounts, shop, shutdown, thread: Some(thread), directory }
    }

    /// Returns the path of the database.
    pub(crate) fn database(&self) -> PathBuf {
        self.directory.path().join("shop.db")
    }

    /// Stops the shop. Returns the path of its database, and the directory that contains it.
    pub(crate) fn stop(mut self) -> (PathBuf, TempDir) {
        self.end();
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap());
        (directory.path().join("shop.db"), directory)
    }

    /// Returns the client's arguments for the ports of this shop.
    pub(crate) fn port_args(&self) -> [String; 2] {
        [format!("--accounts-port={}", self.accounts.port()), format!("--shop-port={}", self.shop.port())]
    }

    fn end(&mut self) {
        self.shutdown.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn config(directory: &Path, stock: i64) -> Config {
    let mut config = Config::new(directory.join("shop.db"));
    config.admin = Admin { username: ADMIN.to_owned(), password: Some(Secret::new(ADMIN_PASSWORD)) };
    config.catalogue = Catalogue::Demo { stock };
    config.passwords.cost = HashCost::new(8, 1, 1).unwrap();
    config.passwords.queue = NonZeroUsize::new(4096).unwrap();
    // These tests test the client: a slow disk must not cause a timeout.
    config.storage.durability = Durability::Normal;
    config
}

/// Returns a socket that reserves a closed port, and the client's arguments for it.
pub(crate) fn closed_port() -> (Socket, [String; 2]) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, both_ports(address))
}

/// Returns the client's arguments for a shop with one port.
pub(crate) fn both_ports(address: SocketAddr) -> [String; 2] {
    [format!("--accounts-port={}", address.port()), format!("--shop-port={}", address.port())]
}

/// Returns the command that starts the client with `args`.
pub(crate) fn client(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop-client"));
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs a command, which must succeed.
pub(crate) fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}\n{}\nstdout:\n{}\nstderr:\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Reads the rows of a CSV, which must be complete.
pub(crate) fn samples(path: &Path) -> Vec<Sample> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n'), "the last row of {} is incomplete", path.display());
    assert_eq!(text.lines().next(), Some(COLUMNS.join(",").as_str()));
    csv::Reader::from_reader(text.as_bytes()).deserialize().map(|row| row.unwrap()).collect()
}

/// Raises this process's limit of open files to the hard limit.
pub(crate) fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}
