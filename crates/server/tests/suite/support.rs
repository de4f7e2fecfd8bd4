//! A server per test in its own directory, and a client for the protocol.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::CertificateFingerprint;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::{FrameDecoder, encode_frame};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

/// Limit of every wait: a test fails instead of hanging.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);
/// Administrator's password of all servers, except in tests of that password.
pub(crate) const ADMIN_PASSWORD: &str = "admin-password";
/// Password of all other users.
pub(crate) const PASSWORD: &str = "password-1";

/// Minimum settings of tests, with the cheapest password hash.
const SETTINGS: [&str; 14] = [
    "--accounts-listen",
    "127.0.0.1:0",
    "--shop-listen",
    "127.0.0.1:0",
    "--password-memory-kib",
    "8",
    "--password-iterations",
    "1",
    "--log",
    "debug",
    "--catalogue-stock",
    "100000",
    // Tests compare the log, also on a slow host.
    "--slow-operation",
    "1h",
];

/// Returns the program without this process's environment variables.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop-server"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// Running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    directory: Arc<TempDir>,
    pub(crate) accounts: SocketAddr,
    pub(crate) shop: SocketAddr,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) tls_fingerprint: Option<CertificateFingerprint>,
}

impl Server {
    /// Starts a server in a new directory, with additional settings.
    pub(crate) fn start(settings: &[&str]) -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), settings)
    }

    /// Starts a server in an existing directory. `settings` override the defaults.
    pub(crate) fn start_in(directory: Arc<TempDir>, settings: &[&str]) -> Self {
        let mut command = program();
        command.arg("--database").arg(directory.path().join("shop.db"));
        Self::start_command(command, directory, settings)
    }

    /// Starts a server by a command that needs only further settings.
    pub(crate) fn start_command(mut command: Command, directory: Arc<TempDir>, settings: &[&str]) -> Self {
        let log = File::options().create(true).append(true).open(directory.path().join("log")).unwrap();
        command.env("SHOP_ADMIN_PASSWORD", ADMIN_PASSWORD).args(merge(&SETTINGS, settings));
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            let log = fs::read_to_string(directory.path().join("log")).unwrap();
            panic!("the server did not start: {command:?}\nstdout: {line}\nstderr: {log}")
        });
        assert_eq!(ready["event"], "ready");
        let address = |name: &str| ready[name].as_str().unwrap().parse().unwrap();
        let metrics = ready["metrics"].as_str().map(|address| address.parse().unwrap());
        let tls_fingerprint = ready["tls_fingerprint"].as_str().map(|fingerprint| fingerprint.parse().unwrap());
        Self { child, directory, accounts: address("accounts"), shop: address("shop"), metrics, tls_fingerprint }
    }

    pub(crate) fn directory(&self) -> Arc<TempDir> {
        Arc::clone(&self.directory)
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.directory.path().join("shop.db")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    pub(crate) fn on_accounts(&self) -> Client {
        Client::connect(self.accounts)
    }

    pub(crate) fn on_shop(&self) -> Client {
        Client::connect(self.shop)
    }

    /// Registers a user and returns a token.
    pub(crate) fn customer(&self, username: &str) -> String {
        let mut client = self.on_accounts();
        client.ok(json!({"command": "register", "username": username, "password": PASSWORD}));
        self.token(username, PASSWORD)
    }

    pub(crate) fn admin(&self) -> String {
        self.token("admin", ADMIN_PASSWORD)
    }

    pub(crate) fn token(&self, username: &str, password: &str) -> String {
        let login = json!({"command": "login", "username": username, "password": password});
        self.on_accounts().ok(login)["token"].as_str().unwrap().to_owned()
    }

    /// Adds a product and returns its id.
    pub(crate) fn product(&self, stock: i64) -> i64 {
        let product = json!({"command": "add_product", "token": self.admin(), "name": "Thing", "category": "Things",
                             "price_cents": 250, "stock": stock});
        self.on_shop().ok(product)["product_id"].as_i64().unwrap()
    }

    /// Returns the report of `shop-server check`.
    pub(crate) fn check(&self) -> Value {
        check(&self.database())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(20).collect();
            eprintln!("last lines of the server's log, newest first:\n{}", tail.join("\n"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Merges pairs of flag and value; those in `own` replace those in `base`, because clap rejects repeated flags.
fn merge<'a>(base: &[&'a str], own: &[&'a str]) -> Vec<&'a str> {
    let given = |flag: &str| own.chunks(2).any(|pair| pair[0] == flag);
    base.chunks(2).filter(|pair| !given(pair[0])).flatten().chain(own).copied().collect()
}

/// Returns the report of `shop-server check` and verifies its exit code.
pub(crate) fn check(database: &Path) -> Value {
    let output = program().arg("check").arg("--database").arg(database).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("check: {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(output.status.code(), Some(if report["consistent"] == true { 0 } else { 1 }), "{report}");
    report
}

/// Connection to a shop.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    decoder: FrameDecoder,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect(address).unwrap())
    }

    /// Connects from another of the host's loopback addresses.
    pub(crate) fn connect_from(source: [u8; 4], address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        Self::of(socket.into())
    }

    fn of(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(TIMEOUT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, decoder: FrameDecoder::default() }
    }

    pub(crate) fn send(&mut self, request: &Value) {
        self.send_payload(&serde_json::to_vec(request).unwrap());
    }

    pub(crate) fn send_payload(&mut self, payload: &[u8]) {
        self.stream.write_all(&encode_frame(payload).unwrap()).unwrap();
    }

    /// Receives the next response, or `None` if the server has closed the connection without a reset.
    pub(crate) fn receive_or_end(&mut self) -> std::io::Result<Option<Value>> {
        Ok(self.receive_payload()?.map(|payload| serde_json::from_slice(&payload).unwrap()))
    }

    /// Receives the next response undecoded, for measurements.
    pub(crate) fn receive_raw(&mut self) -> Vec<u8> {
        self.receive_payload().unwrap().expect("connection closed without a response")
    }

    fn receive_payload(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let mut chunk = [0; 16 * 1024];
        loop {
            if let Some(payload) = self.decoder.next_frame().unwrap() {
                return Ok(Some(payload.to_vec()));
            }
            match self.stream.read(&mut chunk)? {
                0 => {
                    assert!(!self.decoder.is_mid_frame(), "connection closed within a response");
                    return Ok(None);
                }
                bytes => self.decoder.feed(&chunk[..bytes]),
            }
        }
    }

    pub(crate) fn receive(&mut self) -> Value {
        self.receive_or_end().unwrap().expect("connection closed without a response")
    }

    pub(crate) fn call(&mut self, request: Value) -> Value {
        self.send(&request);
        self.receive()
    }

    /// Returns the result of a request that must succeed.
    pub(crate) fn ok(&mut self, request: Value) -> Value {
        let mut response = self.call(request.clone());
        assert_eq!(response["ok"], true, "{request}: {response}");
        response["result"].take()
    }

    /// Returns code and field of the error of a request that must fail.
    pub(crate) fn refusal(&mut self, request: Value) -> (String, Option<String>) {
        let response = self.call(request.clone());
        assert_eq!(response["ok"], false, "{request}: {response}");
        refusal(&response)
    }

    /// Asserts that the server closes the connection without a reset or a further response.
    pub(crate) fn assert_closed(&mut self) {
        assert_eq!(self.receive_or_end().unwrap(), None);
    }

    /// Returns whether no byte of a response has arrived.
    pub(crate) fn has_no_response(&mut self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }
}

/// Returns code and field of an error response.
pub(crate) fn refusal(response: &Value) -> (String, Option<String>) {
    let error = &response["error"];
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{response}");
    (error["code"].as_str().unwrap().to_owned(), error["field"].as_str().map(ToOwned::to_owned))
}

/// Returns the expected value of [`Client::refusal`]; `field` may be empty.
pub(crate) fn error(code: &str, field: &str) -> (String, Option<String>) {
    (code.to_owned(), (!field.is_empty()).then(|| field.to_owned()))
}

/// Polls until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !condition() {
        assert!(Instant::now() < deadline, "timeout after {TIMEOUT:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Returns a `place_order` request for one product.
pub(crate) fn order(token: &str, product_id: i64, quantity: i64) -> Value {
    json!({"command": "place_order", "token": token, "items": [{"product_id": product_id, "quantity": quantity}]})
}
