//! `--trace`: a row for each exchange, however its connection ends and whichever process renames the file.

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

/// A server that writes a trace, and where.
fn traced(settings: &[&str]) -> (Server, PathBuf) {
    let folder = Arc::new(TempDir::new().unwrap());
    let path = folder.path().join("trace.csv");
    let trace = ["--trace", path.to_str().unwrap()];
    (Server::start_in(folder, &[&trace, settings].concat()), path)
}

/// The rows of a trace: what each field says, `None` where it is empty.
fn rows(path: &Path) -> Vec<[Option<u64>; 4]> {
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    assert!(text.ends_with('\n') && lines.next() == Some(HEADER), "{text}");
    let field = |field: &str| (!field.is_empty()).then(|| field.parse().unwrap());
    let row = |line: &str| line.split(',').map(field).collect::<Vec<_>>().try_into().unwrap();
    lines.map(row).collect()
}

fn exchanges(path: &Path) -> Vec<u64> {
    rows(path).into_iter().map(|[exchange_id, ..]| exchange_id.unwrap()).collect()
}

/// Asks for the categories and gives the exchange's number.
fn ask(client: &mut Client) -> u64 {
    number(&client.call(json!({"command": "view_categories"})))
}

fn number(response: &Value) -> u64 {
    response["exchange_id"].as_u64().unwrap()
}

#[test]
fn a_kept_connection_has_its_rows_when_it_goes_on_and_when_it_ends() {
    let (server, path) = traced(&[]);
    assert_eq!(exchanges(&path), [0; 0], "the file is there from the start");
    let mut shop = server.on_shop();
    let asked: Vec<u64> = (0..3).map(|_| ask(&mut shop)).collect();
    eventually("all rows but the last are written", || exchanges(&path).len() == 2);
    assert_eq!(exchanges(&path), asked[..2]);
    drop(shop);
    eventually("the last row is written", || exchanges(&path).len() == 3);
    assert_eq!(exchanges(&path), asked);
    for [_, rtt, rto, retransmits] in rows(&path) {
        assert!(rtt.unwrap() > 0 && rto.unwrap() > rtt.unwrap(), "{rtt:?} {rto:?}");
        assert_eq!(retransmits, Some(0));
    }
}

#[test]
fn each_connection_of_its_own_has_its_row_on_both_ports() {
    let (server, path) = traced(&[]);
    let mut asked: Vec<u64> = (0..50).map(|_| ask(&mut server.on_shop())).collect();
    asked.push(number(&server.on_accounts().call(json!({"command": "none_such"}))));
    eventually("all rows are written", || exchanges(&path).len() == asked.len());
    let mut written = exchanges(&path);
    written.sort_unstable();
    assert_eq!(written, asked);
}

#[test]
fn a_client_that_vanishes_has_its_row() {
    let (server, path) = traced(&[]);
    let frame = encode_frame(br#"{"command":"view_categories"}"#).unwrap();
    // One resets the connection before it has read the response, one after.
    for reads in [false, true] {
        let mut client = Client::connect(server.shop);
        client.stream.write_all(&frame).unwrap();
        eventually("the response is there", || !client.is_unanswered());
        if reads {
            client.receive();
        }
        let abort = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&client.stream, sockopt::Linger, &abort).unwrap();
    }
    eventually("both rows are written", || exchanges(&path).len() == 2);
    assert!(
        rows(&path)
            .iter()
            .all(|[_, rtt, rto, retransmits]| { rtt.is_some() && rto.is_some() && *retransmits == Some(0) })
    );
}

#[test]
fn of_requests_that_came_together_only_the_first_row_counts_segments() {
    let (server, path) = traced(&[]);
    let mut shop = server.on_shop();
    shop.stream.write_all(&encode_frame(br#"{"command":"view_categories"}"#).unwrap().repeat(3)).unwrap();
    let asked: Vec<u64> = (0..3).map(|_| number(&shop.receive())).collect();
    drop(shop);
    eventually("all rows are written", || exchanges(&path).len() == 3);
    assert_eq!(exchanges(&path), asked);
    let counted: Vec<bool> = rows(&path).iter().map(|[.., retransmits]| retransmits.is_some()).collect();
    assert_eq!(counted, [true, false, false]);
}

#[test]
fn connections_that_the_server_ends_have_their_rows() {
    let (server, path) = traced(&["--idle-timeout", "1s", "--max-connections", "1"]);
    let mut idle = server.on_shop();
    let mut asked = vec![ask(&mut idle)];
    let mut refused = server.on_shop();
    asked.push(number(&refused.receive()));
    refused.assert_closed();
    drop(refused);
    idle.assert_closed();
    eventually("both rows are written", || exchanges(&path).len() == 2);
    let mut written = exchanges(&path);
    written.sort_unstable();
    assert_eq!(written, asked);
}

#[test]
fn a_server_that_stops_writes_all_rows_first() {
    let (mut server, path) = traced(&[]);
    let mut connections: Vec<Client> = (0..20).map(|_| server.on_shop()).collect();
    let asked: Vec<u64> = connections.iter_mut().map(ask).collect();
    assert_eq!(exchanges(&path), [0; 0], "no client has sent a further request or disconnected");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    let mut written = exchanges(&path);
    written.sort_unstable();
    assert_eq!(written, asked);
}

#[test]
fn renaming_the_file_under_load_loses_no_row() {
    let (mut server, path) = traced(&["--log", "warn"]);
    let (done, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    // Both kinds of clients continue until the file was renamed four times.
    let continues = |asked: usize| asked < 200 || count.load(Ordering::Relaxed) < 4;
    let (mut asked, mut files) = std::thread::scope(|scope| {
        let kept = scope.spawn(|| {
            let mut client = server.on_shop();
            (0..).take_while(|asked| continues(*asked)).map(|_| ask(&mut client)).collect::<Vec<_>>()
        });
        let per_request = scope.spawn(|| {
            (0..).take_while(|asked| continues(*asked)).map(|_| ask(&mut server.on_shop())).collect::<Vec<_>>()
        });
        let taker = scope.spawn(|| {
            let mut taken = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let aside = path.with_extension(taken.len().to_string());
                match fs::rename(&path, &aside) {
                    Ok(()) => {
                        taken.push(aside);
                        count.store(taken.len(), Ordering::Relaxed);
                    }
                    Err(_) => std::thread::yield_now(),
                }
            }
            taken
        });
        let asked = [kept.join().unwrap(), per_request.join().unwrap()].concat();
        done.store(true, Ordering::Relaxed);
        (asked, taker.join().unwrap())
    });
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    files.extend(path.exists().then_some(path));
    let mut written: Vec<u64> = files.iter().flat_map(|file| exchanges(file)).collect();
    asked.sort_unstable();
    written.sort_unstable();
    assert_eq!(written, asked);
}

#[test]
fn a_trace_that_cannot_be_begun_keeps_the_server_from_starting() {
    let (server, path) = traced(&[]);
    for (trace, reason) in [(path.clone(), "new file"), (path.join("below"), "trace.csv/below")] {
        let mut command = program();
        command.args(["--accounts-listen", "127.0.0.1:0", "--shop-listen", "127.0.0.1:0", "--trace"]).arg(trace);
        command.arg("--database").arg(server.folder().path().join("other.db"));
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && said.contains(reason), "{said}");
    }
    assert!(TcpStream::connect(server.shop).is_ok());
}
