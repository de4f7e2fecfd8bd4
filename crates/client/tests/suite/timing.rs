//! What one operation measures, over real sockets: where its parts start and end.
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

const RESPONSE: &[u8] = br#"{"ok":true,"server_us":250,"result":{"categories":[]}}"#;
/// How long things take that are made to.
const LONG: Duration = Duration::from_millis(100);
/// A timeout that must not expire, even on a slow host.
const AMPLE: Duration = Duration::from_secs(60);

fn transport(accounts: SocketAddr, shop: SocketAddr, mode: ConnectionMode, request: Duration) -> Transport {
    let (accounts_port, shop_port) = (accounts.port(), shop.port());
    let endpoints = Endpoints { address: shop.ip(), accounts_port, shop_port };
    Transport::new(endpoints, mode, Timeouts { connect: AMPLE, request })
}

/// A server that answers one request, by `answer`.
fn server(answer: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut prefix = [0; 4];
        stream.read_exact(&mut prefix).unwrap();
        stream.read_exact(&mut vec![0; u32::from_be_bytes(prefix) as usize]).unwrap();
        answer(stream);
    });
    address
}

#[tokio::main(flavor = "current_thread")]
async fn ask(address: SocketAddr, timeout: Duration, intended: Instant) -> Exchange<Categories> {
    let mut transport = transport(address, address, ConnectionMode::PerRequest, timeout);
    transport.exchange(&Request::ViewCategories {}, intended).await
}

#[test]
fn the_first_byte_comes_after_the_server_has_thought_and_before_the_rest() {
    let (gap, between) = mpsc::channel();
    let address = server(move |mut stream| {
        let frame = encode_frame(RESPONSE).unwrap();
        thread::sleep(LONG);
        stream.write_all(&frame[..1]).unwrap();
        // On the loopback a write that has returned has arrived.
        let first = Instant::now();
        thread::sleep(LONG);
        gap.send(first.elapsed()).unwrap();
        stream.write_all(&frame[1..]).unwrap();
        stream.read_exact(&mut [0]).unwrap_err();
    });
    let ExchangeTiming { first_byte, rtt, .. } = ask(address, AMPLE, Instant::now()).measured;
    let (first_byte, rtt, gap) = (first_byte.unwrap(), rtt.unwrap(), between.recv().unwrap());
    // Half: converting a timestamp reads two clocks, and the program may be interrupted between them.
    assert!(first_byte >= LONG / 2 && rtt - first_byte >= gap / 2, "{first_byte:?} of {rtt:?}, {gap:?} between");
}

#[test]
fn the_first_byte_of_a_response_that_does_not_become_whole_is_known() {
    // A slow host may not read the first byte within a short timeout: then a longer one is tried.
    let first_byte = [1, 10, 100].into_iter().find_map(|times| {
        let address = server(|mut stream| {
            stream.write_all(&encode_frame(RESPONSE).unwrap()[..9]).unwrap();
            let _ = stream.read(&mut [0]);
        });
        let answer = ask(address, times * LONG, Instant::now());
        assert_eq!((answer.outcome(), answer.measured.rtt), (Outcome::Timeout, None));
        Some((answer.measured.first_byte?, times * LONG))
    });
    assert!(first_byte.is_some_and(|(time, limit)| time < limit), "{first_byte:?}");
}

#[test]
fn nothing_read_has_no_first_byte() {
    let answer = ask(server(drop), AMPLE, Instant::now());
    assert_eq!((answer.outcome(), answer.measured.first_byte), (Outcome::Reset, None));
}

#[test]
fn service_is_latency_without_the_wait_before_it() {
    let address = server(|mut stream| {
        stream.write_all(&encode_frame(RESPONSE).unwrap()).unwrap();
        let _ = stream.read(&mut [0]);
    });
    let before = Instant::now();
    let intended = before.checked_sub(LONG).unwrap();
    let measured = ask(address, AMPLE, intended).measured;
    let wait = measured.latency - measured.service;
    assert!(wait >= LONG && wait < LONG + before.elapsed() - measured.service, "{measured:?}");
    assert!(measured.connect.unwrap() + measured.rtt.unwrap() <= measured.service, "{measured:?}");
}

#[tokio::test]
async fn a_shop_tells_its_split_and_its_exchanges_and_the_kernel_its_times() {
    let shop = Shop::start(1000);
    let mut exchanges = HashSet::new();
    for mode in [ConnectionMode::PerRequest, ConnectionMode::Persistent] {
        let mut transport = transport(shop.accounts, shop.shop, mode, AMPLE);
        for turn in 0..20 {
            let username = format!("{mode:?}-{turn}");
            let register = Request::Register { username, password: "password-1".to_owned() };
            let registered: Exchange<Registered> = transport.exchange(&register, Instant::now()).await;
            let browsed: Exchange<Categories> = transport.exchange(&Request::ViewCategories {}, Instant::now()).await;
            for measured in [registered.measured, browsed.measured] {
                check(&measured);
                assert!(exchanges.insert(measured.exchange_id.unwrap()), "{measured:?}");
            }
        }
    }
}

fn check(measured: &ExchangeTiming) {
    let ExchangeTiming { server_queue, server_database, server, first_byte, rtt, .. } = measured.clone();
    let (queue, disk, server) = (server_queue.unwrap(), server_database.unwrap(), server.unwrap());
    assert!(!disk.is_zero() && queue + disk <= server, "{measured:?}");
    let (first_byte, rtt) = (first_byte.unwrap(), rtt.unwrap());
    assert!(server <= first_byte && first_byte <= rtt, "{measured:?}");
    assert!(rtt <= measured.service && measured.service <= measured.latency, "{measured:?}");
    // The kernel's segments do not wait for the server's work, so its shortest round trip is below the operation's.
    assert!(measured.tcp_min_rtt.unwrap() <= rtt.max(measured.tcp_rtt.unwrap()), "{measured:?}");
    assert!(measured.tcp_rto.unwrap() >= Duration::from_millis(200), "{measured:?}");
}
