//! TLS on both ports.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use model::CertificateFingerprint;
use model::settings::TlsVersion;
use nix::sys::signal::Signal;
use protocol::{FrameDecoder, encode_frame};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ProtocolVersion, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{PASSWORD, Server, TIMEOUT, order, program};

/// Certificate and its key, as files.
struct Files {
    directory: TempDir,
}

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        fs::write(directory.path().join("certificate.pem"), cert.pem()).unwrap();
        fs::write(directory.path().join("key.pem"), signing_key.serialize_pem()).unwrap();
        Self { directory }
    }

    fn certificate(&self) -> PathBuf {
        self.directory.path().join("certificate.pem")
    }

    fn key(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }

    fn start(&self) -> Server {
        let (certificate, key) = (self.certificate(), self.key());
        let files = ["--tls-certificate", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
        Server::start(&[&["--tls"], &files[..]].concat())
    }
}

struct TlsClient {
    stream: StreamOwned<ClientConnection, TcpStream>,
    decoder: FrameDecoder,
}

impl TlsClient {
    fn connect(address: SocketAddr, version: TlsVersion, certificate: CertificateFingerprint) -> Self {
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_read_timeout(Some(TIMEOUT)).unwrap();
        let session = ClientConnection::new(tls::client_config(version, certificate), ServerName::from(address.ip()));
        TlsClient { stream: StreamOwned::new(session.unwrap(), tcp), decoder: FrameDecoder::default() }
    }

    fn on_accounts(server: &Server) -> Self {
        Self::connect(server.accounts, TlsVersion::V13, server.tls_fingerprint.unwrap())
    }

    fn on_shop(server: &Server) -> Self {
        Self::connect(server.shop, TlsVersion::V13, server.tls_fingerprint.unwrap())
    }

    /// Returns the next response; `None` after the server has ended the TLS session.
    fn receive(&mut self) -> Option<Value> {
        let mut chunk = [0; 4096];
        loop {
            if let Some(payload) = self.decoder.next_frame().unwrap() {
                return Some(serde_json::from_slice(payload).unwrap());
            }
            // Fails if TCP ends without the session's own end (close_notify).
            match self.stream.read(&mut chunk).unwrap() {
                0 => return None,
                bytes => self.decoder.feed(&chunk[..bytes]),
            }
        }
    }

    fn send(&mut self, requests: &[Value]) {
        let frames = requests.iter().flat_map(|request| encode_frame(request.to_string().as_bytes()).unwrap());
        self.stream.write_all(&frames.collect::<Vec<u8>>()).unwrap();
    }

    fn ok(&mut self, request: Value) -> Value {
        self.send(&[request]);
        let mut response = self.receive().unwrap();
        assert_eq!(response["ok"], true, "{response}");
        response["result"].take()
    }
}

#[test]
fn commands_work_over_tls_on_both_ports() {
    let server = Files::new().start();
    let mut accounts = TlsClient::on_accounts(&server);
    accounts.ok(json!({"command": "register", "username": "ann", "password": PASSWORD}));
    let token = accounts.ok(json!({"command": "login", "username": "ann", "password": PASSWORD}))["token"].take();
    assert_eq!(accounts.stream.conn.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let mut shop = TlsClient::on_shop(&server);
    // 2 MB of responses: more than any buffer between the two.
    let requests: Vec<Value> =
        (1..=100).map(|page| json!({"command": "view_products", "page_size": 60, "page": page})).collect();
    shop.send(&requests);
    for page in 1..=100 {
        assert_eq!(shop.receive().unwrap()["result"]["page"], page);
    }
    assert!(shop.ok(order(token.as_str().unwrap(), 1, 1))["order_id"].is_i64());
}

#[test]
fn clear_text_on_an_encrypted_port_costs_only_its_connection() {
    let server = Server::start(&["--tls"]);
    let mut plain = server.on_shop();
    plain.send(&json!({"command": "hello"}));
    // TLS answers with an alert; the test's client would take it for the length of a frame.
    let mut answer = Vec::new();
    let _ = plain.stream.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("\"ok\""), "{answer:?}");
    TlsClient::on_shop(&server).ok(json!({"command": "hello"}));
}

#[test]
fn the_server_accepts_the_requested_version_only_and_makes_a_certificate_at_each_start() {
    let mut fingerprints = Vec::new();
    for (flag, version, other) in [
        ("--tls", TlsVersion::V13, TlsVersion::V12),
        ("--tls=1.3", TlsVersion::V13, TlsVersion::V12),
        ("--tls=1.2", TlsVersion::V12, TlsVersion::V13),
    ] {
        let server = Server::start(&[flag]);
        let fingerprint = server.tls_fingerprint.unwrap();
        TlsClient::connect(server.shop, version, fingerprint).ok(json!({"command": "hello"}));
        let mut refused = TlsClient::connect(server.shop, other, fingerprint);
        let error = refused.stream.write_all(b"hello").unwrap_err().to_string();
        assert!(error.contains("ProtocolVersion"), "{flag}: {error}");
        assert!(server.log().contains(&fingerprint.to_string()), "{}", server.log());
        assert!(!fingerprints.contains(&fingerprint), "two servers have the same certificate");
        fingerprints.push(fingerprint);
    }
    assert_eq!(Server::start(&["--tls=off"]).tls_fingerprint, None);
}

#[test]
fn ready_connects_by_tls() {
    let server = Server::start(&["--tls=1.2"]);
    let ready = |flags: &[&str]| {
        let address = server.shop.to_string();
        let arguments = ["ready", "--timeout", "200ms", "--address", &address];
        program().args(arguments).args(flags).output().unwrap().status.code()
    };
    assert_eq!((ready(&["--tls"]), ready(&[])), (Some(0), Some(1)));
}

#[test]
fn a_shutdown_answers_every_request_and_ends_the_session() {
    let mut server = Server::start(&["--tls"]);
    let mut accounts = TlsClient::on_accounts(&server);
    accounts.ok(json!({"command": "register", "username": "ann", "password": PASSWORD}));
    let token = accounts.ok(json!({"command": "login", "username": "ann", "password": PASSWORD}))["token"].take();
    let mut shop = TlsClient::on_shop(&server);
    let orders = vec![order(token.as_str().unwrap(), 1, 1); 100];
    shop.send(&orders);
    assert_eq!(shop.receive().unwrap()["ok"], true);
    server.signal(Signal::SIGTERM);
    for _ in 1..100 {
        assert_eq!(shop.receive().unwrap()["ok"], true);
    }
    assert_eq!(shop.receive(), None);
    drop((shop, accounts));
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(server.check()["orders"], 100);
}

#[test]
fn unusable_certificates_and_keys_are_refused_at_the_start() {
    let (files, other) = (Files::new(), Files::new());
    let directory = tempfile::tempdir().unwrap();
    let start = |certificate: &Path, key: Option<&Path>| {
        let mut command = program();
        command.args([
            "--accounts-listen",
            "127.0.0.1:0",
            "--shop-listen",
            "127.0.0.1:0",
            "--tls",
            "--tls-certificate",
        ]);
        command.arg(certificate).arg("--database").arg(directory.path().join("shop.db"));
        command.args(key.map(|key| ["--tls-key".as_ref(), key.as_os_str()]).into_iter().flatten());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let absent = directory.path().join("absent.pem");
    for (certificate, key, code, part) in [
        (files.certificate(), None, 2, "--tls-key"),
        (absent.clone(), Some(files.key()), 1, "absent.pem"),
        (files.certificate(), Some(absent.clone()), 1, "absent.pem"),
        (files.key(), Some(files.key()), 1, "no certificate in it"),
        (files.certificate(), Some(files.certificate()), 1, "expected PEM"),
        (files.certificate(), Some(other.key()), 1, "expected PEM"),
    ] {
        let (status, stderr) = start(&certificate, key.as_deref());
        assert!(status == Some(code) && stderr.contains(part), "{part}: {status:?} {stderr}");
        assert!(!directory.path().join("shop.db").exists(), "a failed start has created a database");
    }
    let without_tls =
        program().arg("--tls-certificate").arg(files.certificate()).arg("--tls-key").arg(files.key()).output();
    assert!(String::from_utf8(without_tls.unwrap().stderr).unwrap().contains("needs --tls"));
}
