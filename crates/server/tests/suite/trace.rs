//! `--trace`: one row per exchange, however the connection ends, also when the file is renamed.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt};
use protocol::encode_frame;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Client, Server, eventually, program};

const HEADER: &str = "exchange_id,tcp_rtt_us,tcp_rto_us,retransmits";

/// Starts a server with a trace, and returns its path.
fn traced(settings: &[&str]) -> (Server, PathBuf) {
    let directory = Arc::new(TempDir::new().unwrap());
    let path = directory.path().join("trace.csv");
    let trace = ["--trace", path.to_str().unwrap()];
    (Server::start_in(directory, &[&trace, settings].concat()), path)
}

/// Returns the rows of a trace; empty fields are `None`.
fn rows(path: &Path) -> Vec<[Option<u64>; 4]> {
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    assert!(text.ends_with('\n') && lines.next() == Some(HEADER), "{text}");
    let field = |field: &str| (!field.is_empty()).then(|| field.parse().unwrap());
    let row = |line: &str| line.split(',').map(field).collect::<Vec<_>>().try_into().unwrap();
    lines.map(row).collect()
}

fn exchange_ids(path: &Path) -> Vec<u64> {
    rows(path).into_iter().map(|[exchange_id, ..]| exchange_id.unwrap()).collect()
}

/// Requests the categories and returns the exchange id.
fn request(client: &mut Client) -> u64 {
    exchange_id(&client.call(json!({"command": "view_categories"})))
}

fn exchange_id(response: &Value) -> u64 {
    response["exchange_id"].as_u64().unwrap()
}

#[test]
fn a_persistent_connection_has_its_rows_at_its_next_request_and_at_its_end() {
    let (server, path) = traced(&[]);
    assert_eq!(exchange_ids(&path), [0; 0], "the file exists from the start");
    let mut shop = server.on_shop();
    let expected: Vec<u64> = (0..3).map(|_| request(&mut shop)).collect();
    eventually("all rows but the last are written", || exchange_ids(&path).len() == 2);
    assert_eq!(exchange_ids(&path), expected[..2]);
    drop(shop);
    eventually("the last row is written", || exchange_ids(&path).len() == 3);
    assert_eq!(exchange_ids(&path), expected);
    for [_, rtt, rto, retransmits] in rows(&path) {
        assert!(rtt.unwrap() > 0 && rto.unwrap() > rtt.unwrap(), "{rtt:?} {rto:?}");
        assert_eq!(retransmits, Some(0));
    }
}

#[test]
fn per_request_connections_have_their_rows_on_both_ports() {
    let (server, path) = traced(&[]);
    let mut expected: Vec<u64> = (0..50).map(|_| request(&mut server.on_shop())).collect();
    expected.push(exchange_id(&server.on_accounts().call(json!({"command": "none_such"}))));
    eventually("all rows are written", || exchange_ids(&path).len() == expected.len());
    let mut written = exchange_ids(&path);
    written.sort_unstable();
    assert_eq!(written, expected);
}

#[test]
fn a_client_that_resets_its_connection_has_its_row() {
    let (server, path) = traced(&[]);
    let frame = encode_frame(br#"{"command":"view_categories"}"#).unwrap();
    // One client resets the connection before it reads the response, one after.
    for reads in [false, true] {
        let mut client = Client::connect(server.shop);
        client.stream.write_all(&frame).unwrap();
        eventually("the response arrives", || !client.has_no_response());
        if reads {
            client.receive();
        }
        let abort = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&client.stream, sockopt::Linger, &abort).unwrap();
    }
    eventually("both rows are written", || exchange_ids(&path).len() == 2);
    assert!(
        rows(&path)
            .iter()
            .all(|[_, rtt, rto, retransmits]| { rtt.is_some() && rto.is_some() && *retransmits == Some(0) })
    );
}

#[test]
fn of_requests_that_arrive_together_only_the_first_row_counts_segments() {
    let (server, path) = traced(&[]);
    let mut shop = server.on_shop();
    shop.stream.write_all(&encode_frame(br#"{"command":"view_categories"}"#).unwrap().repeat(3)).unwrap();
    let expected: Vec<u64> = (0..3).map(|_| exchange_id(&shop.receive())).collect();
    drop(shop);
    eventually("all rows are written", || exchange_ids(&path).len() == 3);
    assert_eq!(exchange_ids(&path), expected);
    let counted: Vec<bool> = rows(&path).iter().map(|[.., retransmits]| retransmits.is_some()).collect();
    assert_eq!(counted, [true, false, false]);
}

#[test]
fn connections_closed_by_the_server_have_their_rows() {
    let (server, path) = traced(&["--idle-timeout", "1s", "--max-connections", "1"]);
    let mut idle = server.on_shop();
    let mut expected = vec![request(&mut idle)];
    let mut rejected = server.on_shop();
    expected.push(exchange_id(&rejected.receive()));
    rejected.assert_closed();
    drop(rejected);
    idle.assert_closed();
    eventually("both rows are written", || exchange_ids(&path).len() == 2);
    let mut written = exchange_ids(&path);
    written.sort_unstable();
    assert_eq!(written, expected);
}

#[test]
fn a_server_writes_all_rows_before_it_exits() {
    let (mut server, path) = traced(&[]);
    let mut connections: Vec<Client> = (0..20).map(|_| server.on_shop()).collect();
    let expected: Vec<u64> = connections.iter_mut().map(request).collect();
    assert_eq!(exchange_ids(&path), [0; 0], "no client has sent a further request or disconnected");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    let mut written = exchange_ids(&path);
    written.sort_unstable();
    assert_eq!(written, expected);
}

#[test]
fn renaming_the_file_under_load_loses_no_row() {
    let (mut server, path) = traced(&["--log", "warn"]);
    let (done, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    // Both kinds of clients continue until the file was renamed four times.
    let continues = |expected: usize| expected < 200 || count.load(Ordering::Relaxed) < 4;
    let (mut expected, mut files) = std::thread::scope(|scope| {
        let persistent = scope.spawn(|| {
            let mut client = server.on_shop();
            (0..).take_while(|expected| continues(*expected)).map(|_| request(&mut client)).collect::<Vec<_>>()
        });
        let per_request = scope.spawn(|| {
            (0..)
                .take_while(|expected| continues(*expected))
                .map(|_| request(&mut server.on_shop()))
                .collect::<Vec<_>>()
        });
        let renamer = scope.spawn(|| {
            let mut renamed = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let target = path.with_extension(renamed.len().to_string());
                match fs::rename(&path, &target) {
                    Ok(()) => {
                        renamed.push(target);
                        count.store(renamed.len(), Ordering::Relaxed);
                    }
                    Err(_) => std::thread::yield_now(),
                }
            }
            renamed
        });
        let expected = [persistent.join().unwrap(), per_request.join().unwrap()].concat();
        done.store(true, Ordering::Relaxed);
        (expected, renamer.join().unwrap())
    });
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    files.extend(path.exists().then_some(path));
    let mut written: Vec<u64> = files.iter().flat_map(|file| exchange_ids(file)).collect();
    expected.sort_unstable();
    written.sort_unstable();
    assert_eq!(written, expected);
}

#[test]
fn a_trace_that_cannot_be_created_is_an_error_at_the_start() {
    let (server, path) = traced(&[]);
    for (trace, reason) in [(path.clone(), "new file"), (path.join("below"), "trace.csv/below")] {
        let mut command = program();
        command.args(["--accounts-listen", "127.0.0.1:0", "--shop-listen", "127.0.0.1:0", "--trace"]).arg(trace);
        command.arg("--database").arg(server.directory().path().join("other.db"));
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && stderr.contains(reason), "{stderr}");
    }
    assert!(TcpStream::connect(server.shop).is_ok());
}
