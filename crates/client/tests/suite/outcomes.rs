//! Outcomes of exchanges with servers that misbehave, over real sockets.
use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use client::transport::{Endpoints, Exchange, Timeouts, Transport};
use model::sample::Outcome;
use model::settings::ConnectionMode;
use protocol::response::Categories;
use protocol::{Request, encode_frame};
use socket2::{Domain, SockRef, Socket, Type};

const GOOD: &[u8] = br#"{"ok":true,"server_us":250,"result":{"categories":[],"page":1,"page_size":100,"total":0}}"#;
const REFUSED: &[u8] = br#"{"ok":false,"server_us":250,"error":{"code":"overloaded","message":"full"}}"#;
/// A timeout that is intended to expire.
const SHORT: Duration = Duration::from_millis(300);
/// A timeout that must not expire, even on a slow host.
const AMPLE: Duration = Duration::from_secs(60);

/// Serves each connection with `serve` until the test's process ends.
fn server(serve: impl Fn(TcpStream) -> io::Result<()> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Fails if the client has closed the connection.
            let _ = serve(stream);
        }
    });
    address
}

fn read_request(stream: &mut TcpStream) -> io::Result<()> {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix)?;
    let mut payload = vec![0; u32::from_be_bytes(prefix) as usize];
    stream.read_exact(&mut payload)
}

/// Starts a server that responds to every request with these bytes.
fn responds_with(bytes: Vec<u8>) -> SocketAddr {
    server(move |mut stream| {
        loop {
            read_request(&mut stream)?;
            stream.write_all(&bytes)?;
        }
    })
}

fn frame(payload: &[u8]) -> Vec<u8> {
    encode_frame(payload).unwrap()
}

fn transport(address: SocketAddr, mode: ConnectionMode, timeouts: Timeouts) -> Transport {
    let port = address.port();
    let endpoints = Endpoints { address: address.ip(), accounts_port: port, shop_port: port, tls: None };
    Transport::new(endpoints, mode, timeouts)
}

/// Returns timeouts with this limit for the request.
fn request_within(request: Duration) -> Timeouts {
    Timeouts { connect: AMPLE, request }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

async fn exchange(transport: &mut Transport) -> Exchange<Categories> {
    transport.exchange(&Request::all_categories(), Instant::now()).await
}

fn exchange_once(address: SocketAddr) -> Exchange<Categories> {
    exchange_within(address, request_within(AMPLE))
}

fn exchange_within(address: SocketAddr, timeouts: Timeouts) -> Exchange<Categories> {
    block_on(async { exchange(&mut transport(address, ConnectionMode::PerRequest, timeouts)).await })
}

#[test]
fn a_valid_response_is_ok_and_everything_is_measured() {
    let result = exchange_once(responds_with(frame(GOOD)));
    assert_eq!(result.outcome(), Outcome::Ok);
    let measured = result.measured;
    assert_eq!(measured.server, Some(Duration::from_micros(250)));
    assert_eq!(measured.response_bytes, Some(4 + GOOD.len() as u64));
    assert_eq!(
        measured.request_bytes,
        Some(4 + r#"{"command":"view_categories","page":1,"page_size":100}"#.len() as u64)
    );
    assert_eq!(measured.tcp_retransmits, Some(0));
    let (connect, rtt) = (measured.connect.unwrap(), measured.rtt.unwrap());
    assert!(connect + rtt <= measured.latency, "{measured:?}");
    assert!(measured.tcp_rtt.is_some_and(|rtt| rtt <= measured.latency), "{measured:?}");
}

#[test]
fn a_response_with_an_error_is_refused_and_the_connection_stays_open() {
    let address = responds_with(frame(REFUSED));
    block_on(async {
        let mut transport = transport(address, ConnectionMode::Persistent, request_within(AMPLE));
        for connects in [true, false, false] {
            let result = exchange(&mut transport).await;
            assert_eq!(result.outcome(), Outcome::Refused);
            assert_eq!(result.measured.connect.is_some(), connects);
        }
    });
}

#[test]
fn invalid_responses_are_distinguished_from_closed_connections() {
    let truncated = frame(GOOD)[..20].to_vec();
    let huge = vec![0xff; 8];
    for (what, bytes, outcome) in [
        ("garbage", frame(b"\x00\x01garbage"), Outcome::Protocol),
        ("no object", frame(b"[]"), Outcome::Protocol),
        ("an inconsistent response", frame(br#"{"ok":true,"server_us":1}"#), Outcome::Protocol),
        ("another result", frame(br#"{"ok":true,"server_us":1,"result":{"user_id":1}}"#), Outcome::Protocol),
        ("an HTTP server", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), Outcome::Protocol),
        ("a huge frame", huge, Outcome::Protocol),
        ("a truncated frame and silence", truncated, Outcome::Timeout),
    ] {
        let limit = if outcome == Outcome::Timeout { SHORT } else { AMPLE };
        assert_eq!(exchange_within(responds_with(bytes), request_within(limit)).outcome(), outcome, "{what}");
    }
}

#[test]
fn a_connection_that_ends_before_the_response_is_reset() {
    let truncating = server(|mut stream| {
        read_request(&mut stream)?;
        stream.write_all(&frame(GOOD)[..20])
    });
    let silent = server(|mut stream| read_request(&mut stream));
    let resetting = server(|mut stream| {
        read_request(&mut stream)?;
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))
    });
    for (what, address) in [("truncated", truncating), ("closed", silent), ("reset", resetting)] {
        let result = exchange_once(address);
        assert_eq!(result.outcome(), Outcome::Reset, "{what}");
        assert_eq!((result.measured.rtt, result.measured.response_bytes), (None, None), "{what}");
        assert!(result.measured.connect.is_some() && result.measured.request_bytes.is_some(), "{what}");
    }
}

#[test]
fn a_response_that_arrived_before_the_connection_was_closed_counts() {
    // Like a server at its connection limit: it responds without reading and closes, which resets the connection.
    let full = server(|mut stream| stream.write_all(&frame(REFUSED)));
    for _ in 0..20 {
        assert_eq!(exchange_once(full).outcome(), Outcome::Refused);
    }
}

#[test]
fn a_missing_response_is_a_timeout_after_the_requested_time() {
    let held = server(|stream| {
        std::mem::forget(stream);
        Ok(())
    });
    let result = exchange_within(held, request_within(SHORT));
    assert_eq!(result.outcome(), Outcome::Timeout);
    let latency = result.measured.latency;
    assert!((SHORT..AMPLE).contains(&latency), "{latency:?}");
    assert_eq!(result.measured.rtt, None);
}

/// A socket that reserves its port and does not listen.
fn bound() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    socket
}

#[test]
fn a_closed_port_is_connect_failed() {
    let socket = bound();
    let result = exchange_once(socket.local_addr().unwrap().as_socket().unwrap());
    assert_eq!(result.outcome(), Outcome::ConnectFailed);
    let measured = result.measured;
    assert_eq!((measured.connect, measured.request_bytes, measured.tcp_retransmits), (None, None, None));
}

#[test]
fn a_handshake_without_a_response_is_connect_failed_after_the_requested_time() {
    // A socket with a full backlog drops SYNs.
    let socket = bound();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let connections: Vec<_> = (0..4).map(|_| TcpStream::connect_timeout(&address, SHORT)).collect();
    assert!(connections.iter().any(Result::is_err), "the backlog is not full");
    let result = exchange_within(address, Timeouts { connect: SHORT, request: AMPLE });
    assert_eq!(result.outcome(), Outcome::ConnectFailed);
    assert!(result.measured.latency >= SHORT, "{:?}", result.measured);
}

#[test]
fn a_persistent_connection_that_the_server_closed_is_reopened() {
    let (closed, mut is_closed) = tokio::sync::mpsc::unbounded_channel();
    let once = server(move |mut stream| {
        read_request(&mut stream)?;
        stream.write_all(&frame(GOOD))?;
        drop(stream);
        let _ = closed.send(());
        Ok(())
    });
    block_on(async {
        let mut transport = transport(once, ConnectionMode::Persistent, request_within(AMPLE));
        for _ in 0..3 {
            let result = exchange(&mut transport).await;
            assert_eq!(result.outcome(), Outcome::Ok);
            assert!(result.measured.connect.is_some());
            is_closed.recv().await.unwrap();
            // The kernel has received the FIN; the runtime polls the socket while this task sleeps.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn a_late_response_is_never_assigned_to_the_next_request() {
    let (timed_out, has_timed_out) = std::sync::mpsc::channel();
    let late = server(move |mut stream| {
        read_request(&mut stream)?;
        if has_timed_out.recv().is_err() {
            return Ok(());
        }
        stream.write_all(&frame(GOOD))?;
        read_request(&mut stream)?;
        stream.write_all(&frame(REFUSED))
    });
    block_on(async {
        let mut transport = transport(late, ConnectionMode::Persistent, request_within(SHORT));
        assert_eq!(exchange(&mut transport).await.outcome(), Outcome::Timeout);
        timed_out.send(()).unwrap();
        let second = exchange(&mut transport).await;
        assert!(second.measured.connect.is_some() || second.outcome() == Outcome::ConnectFailed, "{second:?}");
    });
}

#[test]
fn the_rtt_ends_when_the_response_arrives_and_not_when_the_program_reads_it() {
    const EXCHANGES: usize = 15;
    let (times, server_times) = std::sync::mpsc::channel();
    let timed = server(move |mut stream| {
        stream.set_nodelay(true)?;
        read_request(&mut stream)?;
        let read = Instant::now();
        thread::sleep(Duration::from_millis(10));
        let held = read.elapsed();
        stream.write_all(&frame(GOOD))?;
        // On the loopback interface, data has arrived when the write returns.
        let _ = times.send((held, Instant::now()));
        Ok(())
    });
    let times: Vec<[Duration; 3]> = (0..EXCHANGES)
        .map(|_| {
            let start = Instant::now();
            let measured = exchange_once(timed).measured;
            let (held, arrived) = server_times.recv().unwrap();
            [held, measured.rtt.unwrap(), arrived - start - measured.connect.unwrap()]
        })
        .collect();
    // Most, not all: converting a timestamp reads two clocks, and the program may be interrupted between them.
    let consistent = times.iter().filter(|[held, rtt, arrived]| held <= rtt && rtt <= arrived).count();
    assert!(consistent > EXCHANGES / 2, "{times:?}");
}
