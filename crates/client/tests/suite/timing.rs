//! Times measured in one exchange, over real sockets.
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::Shop;
use client::transport::{Endpoints, Exchange, ExchangeTiming, Timeouts, Transport};
use model::sample::Outcome;
use model::settings::ConnectionMode;
use protocol::response::{Categories, Registered};
use protocol::{Request, encode_frame};

const RESPONSE: &[u8] = br#"{"ok":true,"server_us":250,"result":{"categories":[],"page":1,"page_size":100,"total":0}}"#;
/// Duration of deliberate delays.
const LONG: Duration = Duration::from_millis(100);
/// A timeout that must not expire, even on a slow host.
const AMPLE: Duration = Duration::from_secs(60);

fn transport(accounts: SocketAddr, shop: SocketAddr, mode: ConnectionMode, request: Duration) -> Transport {
    let (accounts_port, shop_port) = (accounts.port(), shop.port());
    let endpoints = Endpoints { address: shop.ip(), accounts_port, shop_port, tls: None };
    Transport::new(endpoints, mode, Timeouts { connect: AMPLE, request })
}

/// Starts a server that reads one request and responds by `respond`.
fn server(respond: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut prefix = [0; 4];
        stream.read_exact(&mut prefix).unwrap();
        stream.read_exact(&mut vec![0; u32::from_be_bytes(prefix) as usize]).unwrap();
        respond(stream);
    });
    address
}

#[tokio::main(flavor = "current_thread")]
async fn exchange(address: SocketAddr, timeout: Duration, intended: Instant) -> Exchange<Categories> {
    let mut transport = transport(address, address, ConnectionMode::PerRequest, timeout);
    transport.exchange(&Request::all_categories(), intended).await
}

#[test]
fn the_first_byte_is_received_after_the_servers_work_and_before_the_rest() {
    let (gap_sender, gap_receiver) = mpsc::channel();
    let address = server(move |mut stream| {
        let frame = encode_frame(RESPONSE).unwrap();
        thread::sleep(LONG);
        stream.write_all(&frame[..1]).unwrap();
        // On the loopback interface, data has arrived when the write returns.
        let first = Instant::now();
        thread::sleep(LONG);
        gap_sender.send(first.elapsed()).unwrap();
        stream.write_all(&frame[1..]).unwrap();
        stream.read_exact(&mut [0]).unwrap_err();
    });
    let ExchangeTiming { first_byte, rtt, .. } = exchange(address, AMPLE, Instant::now()).measured;
    let (first_byte, rtt, gap) = (first_byte.unwrap(), rtt.unwrap(), gap_receiver.recv().unwrap());
    // Half: converting a timestamp reads two clocks, and the program may be interrupted between them.
    assert!(first_byte >= LONG / 2 && rtt - first_byte >= gap / 2, "{first_byte:?} of {rtt:?}, {gap:?} between");
}

#[test]
fn the_first_byte_of_an_incomplete_response_is_measured() {
    // A slow host may not read the first byte within a short timeout: then a longer one is tried.
    let first_byte = [1, 10, 100].into_iter().find_map(|times| {
        let address = server(|mut stream| {
            stream.write_all(&encode_frame(RESPONSE).unwrap()[..9]).unwrap();
            let _ = stream.read(&mut [0]);
        });
        let result = exchange(address, times * LONG, Instant::now());
        assert_eq!((result.outcome(), result.measured.rtt), (Outcome::Timeout, None));
        Some((result.measured.first_byte?, times * LONG))
    });
    assert!(first_byte.is_some_and(|(time, limit)| time < limit), "{first_byte:?}");
}

#[test]
fn without_a_response_there_is_no_first_byte() {
    let result = exchange(server(drop), AMPLE, Instant::now());
    assert_eq!((result.outcome(), result.measured.first_byte), (Outcome::Reset, None));
}

#[test]
fn service_is_latency_without_the_wait_before_it() {
    let address = server(|mut stream| {
        stream.write_all(&encode_frame(RESPONSE).unwrap()).unwrap();
        let _ = stream.read(&mut [0]);
    });
    let before = Instant::now();
    let intended = before.checked_sub(LONG).unwrap();
    let measured = exchange(address, AMPLE, intended).measured;
    let wait = measured.latency - measured.service;
    assert!(wait >= LONG && wait < LONG + before.elapsed() - measured.service, "{measured:?}");
    assert!(measured.connect.unwrap() + measured.rtt.unwrap() <= measured.service, "{measured:?}");
}

#[tokio::test]
async fn exchanges_have_the_shops_times_and_ids_and_the_kernels_statistics() {
    let shop = Shop::start(1000);
    let mut exchanges = HashSet::new();
    for mode in [ConnectionMode::PerRequest, ConnectionMode::Persistent] {
        let mut transport = transport(shop.accounts, shop.shop, mode, AMPLE);
        for number in 0..20 {
            let username = format!("{mode:?}-{number}");
            let register = Request::Register { username, password: "password-1".to_owned() };
            let registered: Exchange<Registered> = transport.exchange(&register, Instant::now()).await;
            let browsed: Exchange<Categories> = transport.exchange(&Request::all_categories(), Instant::now()).await;
            // The categories come from memory.
            assert!(!registered.measured.server_database.unwrap().is_zero(), "{:?}", registered.measured);
            for measured in [registered.measured, browsed.measured] {
                check(&measured);
                assert!(exchanges.insert(measured.exchange_id.unwrap()), "{measured:?}");
            }
        }
    }
}

fn check(measured: &ExchangeTiming) {
    let ExchangeTiming { server_queue, server_database, server, first_byte, rtt, .. } = measured.clone();
    let (queue, database, server) = (server_queue.unwrap(), server_database.unwrap(), server.unwrap());
    assert!(queue + database <= server, "{measured:?}");
    let (first_byte, rtt) = (first_byte.unwrap(), rtt.unwrap());
    assert!(server <= first_byte && first_byte <= rtt, "{measured:?}");
    assert!(rtt <= measured.service && measured.service <= measured.latency, "{measured:?}");
    // The kernel's acknowledgements do not wait for the server's work: its minimum RTT is below that of the operation.
    assert!(measured.tcp_min_rtt.unwrap() <= rtt.max(measured.tcp_rtt.unwrap()), "{measured:?}");
    assert!(measured.tcp_rto.unwrap() >= Duration::from_millis(200), "{measured:?}");
}
