//! Hostile and broken clients cost no more than their connections: memory stays within its budget, and other clients are
//! served.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "tests report what they measured")]

#[allow(dead_code, reason = "shared with the suite, which uses all of it")]
#[path = "../suite/support.rs"]
mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::thread;

use protocol::encode_frame;
use serde_json::json;
use test_support::{requirements, run, test};

use support::{Client, Server, error, eventually, refusal};

/// Connections of a flood. Both ends are on this host, each in its own process.
const FLOOD: usize = 10_000;
/// Open files of a process other than connections.
const OTHER_FILES: u64 = 300;
/// Maximum memory of a server with the default budget for its buffers, 256 MiB: the measured peaks are 145 and 135 MiB.
const MAX_PEAK_MIB: u64 = 256;

fn main() -> ExitCode {
    let files: fn() -> Result<(), String> = || requirements::open_files(FLOOD as u64 + OTHER_FILES);
    run(
        1,
        [
            test!(ten_thousand_half_sent_requests_stay_within_the_budget).needs(&[files]).shared(),
            test!(clients_that_never_read_are_disconnected_within_the_budget).needs(&[files]).shared(),
            test!(a_hundred_thousand_pipelined_requests_get_their_responses_in_order).shared(),
            test!(connections_of_one_address_are_limited_and_others_are_served).shared(),
            test!(a_connection_without_a_request_is_closed_early).shared(),
            test!(bytes_without_meaning_cost_only_their_connection).shared(),
        ],
    )
}

/// Returns the peak of the server's resident memory, MiB (proc_pid_status(5), VmHWM).
fn peak_mib(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// Opens `count` connections and sends `bytes` on each, from several threads.
fn flood(address: SocketAddr, count: usize, bytes: &[u8]) -> Vec<TcpStream> {
    const THREADS: usize = 4;
    thread::scope(|scope| {
        let connect = move || {
            let streams = (0..count / THREADS).map(|_| {
                let mut stream = TcpStream::connect(address).unwrap();
                // Does not wait for a server that reads no further.
                stream.set_nonblocking(true).unwrap();
                let _ = stream.write(bytes);
                stream
            });
            streams.collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(connect)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// Asserts that a new client is served.
fn assert_served(server: &Server) {
    server.on_shop().ok(json!({"command": "view_products"}));
}

fn ten_thousand_half_sent_requests_stay_within_the_budget() {
    let server = Server::start(&["--log", "warn", "--max-connections", "20000", "--buffer-budget-mib", "328"]);
    // 20,000 connections have 312 MiB of it, which leaves 16 MiB for large requests: 264 of 61,000 bytes.
    let mut half = 61_000_u32.to_be_bytes().to_vec();
    half.resize(50_000, b' ');
    let streams = flood(server.shop, FLOOD, &half);
    assert_served(&server);
    let peak = peak_mib(&server);
    println!("{} half-sent requests: peak of {peak} MiB", streams.len());
    assert!(peak <= MAX_PEAK_MIB, "{peak} MiB");
    // Small requests need nothing of the shared part, and large ones are served once it is free.
    drop(streams);
    let mut large = br#"{"command":"hello"}"#.to_vec();
    large.resize(60_000, b' ');
    let mut client = server.on_shop();
    client.send_payload(&large);
    assert_eq!(client.receive()["ok"], true);
}

fn clients_that_never_read_are_disconnected_within_the_budget() {
    let server = Server::start(&["--log", "warn"]);
    let requests = encode_frame(br#"{"command":"view_products","page_size":60}"#).unwrap().repeat(200);
    let streams = flood(server.shop, 2000, &requests);
    assert_served(&server);
    let peak = peak_mib(&server);
    println!("{} clients with 200 unread responses of 17 kB each: peak of {peak} MiB", streams.len());
    assert!(peak <= MAX_PEAK_MIB, "{peak} MiB");
    drop(streams);
    assert_served(&server);
}

fn a_hundred_thousand_pipelined_requests_get_their_responses_in_order() {
    const REQUESTS: u32 = 100_000;
    let server = Server::start(&["--log", "warn"]);
    let mut client = server.on_shop();
    let mut sender = client.stream.try_clone().unwrap();
    let sends = thread::spawn(move || {
        for page in 1..=REQUESTS {
            let request = json!({"command": "view_products", "page": page, "page_size": 1}).to_string();
            sender.write_all(&encode_frame(request.as_bytes()).unwrap()).unwrap();
        }
    });
    for page in 1..=REQUESTS {
        let response = client.receive_raw();
        let expected = format!("\"page\":{page},");
        assert!(String::from_utf8_lossy(&response).contains(&expected), "response {page}");
        if page % 10_000 == 0 {
            assert_served(&server);
        }
    }
    sends.join().unwrap();
}

fn connections_of_one_address_are_limited_and_others_are_served() {
    let server = Server::start(&["--log", "warn", "--max-connections-per-address", "50"]);
    let mut streams: Vec<Client> = (0..200).map(|_| server.on_shop()).collect();
    let refused = streams.split_off(50).into_iter().filter_map(|mut client| client.receive_or_end().ok().flatten());
    assert_eq!(refused.map(|response| assert_eq!(refusal(&response), error("overloaded", ""))).count(), 150);
    let mut other = Client::connect_from([127, 0, 0, 2], server.shop);
    other.ok(json!({"command": "hello"}));
    streams[0].ok(json!({"command": "hello"}));
    drop(streams);
    eventually("an ended connection does not count", || {
        let mut client = server.on_shop();
        client.stream.write_all(&encode_frame(br#"{"command":"hello"}"#).unwrap()).unwrap();
        matches!(client.receive_or_end(), Ok(Some(response)) if response["ok"] == true)
    });
}

fn a_connection_without_a_request_is_closed_early() {
    let server = Server::start(&["--first-request-timeout", "200ms", "--idle-timeout", "1h"]);
    let mut silent = server.on_shop();
    let mut kept = server.on_shop();
    kept.ok(json!({"command": "hello"}));
    silent.assert_closed();
    // The short timeout applies only before the first request.
    kept.ok(json!({"command": "hello"}));
}

fn bytes_without_meaning_cost_only_their_connection() {
    let server = Server::start(&["--log", "warn"]);
    // A fixed sequence: a linear congruential generator (Knuth, The Art of Computer Programming, vol. 2, 3.3.4).
    let mut state = 1_u64;
    for _ in 0..500 {
        let mut bytes = Vec::new();
        for _ in 0..1000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            bytes.push((state >> 56) as u8);
        }
        // Half of them start with a length that a request may have.
        if state & 1 == 0 {
            bytes[..4].copy_from_slice(&900_u32.to_be_bytes());
        }
        let mut client = Client::connect(server.shop);
        client.stream.write_all(&bytes).unwrap();
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut response = Vec::new();
        // The server may reset the connection when it closes it with unread bytes.
        let _ = client.stream.read_to_end(&mut response);
        assert!(response.len() < 5000, "{} bytes", response.len());
    }
    assert_served(&server);
    assert_eq!(server.log(), "");
}
