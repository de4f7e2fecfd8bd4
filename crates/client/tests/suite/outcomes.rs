//! What the client makes of servers that misbehave, over real sockets.
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

const GOOD: &[u8] = br#"{"ok":true,"server_us":250,"result":{"categories":[]}}"#;
const REFUSED: &[u8] = br#"{"ok":false,"server_us":250,"error":{"code":"overloaded","message":"full"}}"#;
/// A timeout that is meant to expire.
const SHORT: Duration = Duration::from_millis(300);
/// A timeout that must not expire, even on a slow host.
const AMPLE: Duration = Duration::from_secs(60);

/// Serves each connection with `serve` until the test's process ends.
fn server(serve: impl Fn(TcpStream) -> io::Result<()> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // The client may be gone; it is the client that is tested.
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

/// Answers every request of a connection with these bytes.
fn answers(bytes: Vec<u8>) -> SocketAddr {
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
    let endpoints = Endpoints { address: address.ip(), accounts_port: port, shop_port: port };
    Transport::new(endpoints, mode, timeouts)
}

/// A request may take so long, connecting any time.
fn request_within(request: Duration) -> Timeouts {
    Timeouts { connect: AMPLE, request }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

async fn ask(transport: &mut Transport) -> Exchange<Categories> {
    transport.exchange(&Request::ViewCategories {}, Instant::now()).await
}

fn ask_once(address: SocketAddr) -> Exchange<Categories> {
    ask_within(address, request_within(AMPLE))
}

fn ask_within(address: SocketAddr, timeouts: Timeouts) -> Exchange<Categories> {
    block_on(async { ask(&mut transport(address, ConnectionMode::PerRequest, timeouts)).await })
}

#[test]
fn a_good_answer_is_ok_and_everything_is_measured() {
    let answer = ask_once(answers(frame(GOOD)));
    assert_eq!(answer.outcome(), Outcome::Ok);
    let measured = answer.measured;
    assert_eq!(measured.server, Some(Duration::from_micros(250)));
    assert_eq!(measured.response_bytes, Some(4 + GOOD.len() as u64));
    assert_eq!(measured.request_bytes, Some(4 + r#"{"command":"view_categories"}"#.len() as u64));
    assert_eq!(measured.tcp_retransmits, Some(0));
    let (connect, rtt) = (measured.connect.unwrap(), measured.rtt.unwrap());
    assert!(connect + rtt <= measured.latency, "{measured:?}");
    assert!(measured.tcp_rtt.is_some_and(|rtt| rtt <= measured.latency), "{measured:?}");
}

#[test]
fn an_answer_with_an_error_is_refused_and_the_connection_stays() {
    let address = answers(frame(REFUSED));
    block_on(async {
        let mut transport = transport(address, ConnectionMode::Persistent, request_within(AMPLE));
        for connects in [true, false, false] {
            let answer = ask(&mut transport).await;
            assert_eq!(answer.outcome(), Outcome::Refused);
            assert_eq!(answer.measured.connect.is_some(), connects);
        }
    });
}

#[test]
fn answers_that_are_not_the_protocol_are_told_apart_from_broken_connections() {
    let truncated = frame(GOOD)[..20].to_vec();
    let huge = vec![0xff; 8];
    for (what, bytes, outcome) in [
        ("garbage", frame(b"\x00\x01garbage"), Outcome::Protocol),
        ("no object", frame(b"[]"), Outcome::Protocol),
        ("an inconsistent answer", frame(br#"{"ok":true,"server_us":1}"#), Outcome::Protocol),
        ("another result", frame(br#"{"ok":true,"server_us":1,"result":{"user_id":1}}"#), Outcome::Protocol),
        ("an HTTP server", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), Outcome::Protocol),
        ("a huge frame", huge, Outcome::Protocol),
        ("a truncated frame and silence", truncated, Outcome::Timeout),
    ] {
        let limit = if outcome == Outcome::Timeout { SHORT } else { AMPLE };
        assert_eq!(ask_within(answers(bytes), request_within(limit)).outcome(), outcome, "{what}");
    }
}

#[test]
fn a_connection_that_ends_before_the_answer_does_is_reset() {
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
        let answer = ask_once(address);
        assert_eq!(answer.outcome(), Outcome::Reset, "{what}");
        assert_eq!((answer.measured.rtt, answer.measured.response_bytes), (None, None), "{what}");
        assert!(answer.measured.connect.is_some() && answer.measured.request_bytes.is_some(), "{what}");
    }
}

#[test]
fn an_answer_that_came_before_the_connection_was_closed_counts() {
    // As a full server does: it answers without reading and closes, which resets the connection.
    let full = server(|mut stream| stream.write_all(&frame(REFUSED)));
    for _ in 0..20 {
        assert_eq!(ask_once(full).outcome(), Outcome::Refused);
    }
}

#[test]
fn silence_is_a_timeout_of_the_stated_length() {
    let held = server(|stream| {
        std::mem::forget(stream);
        Ok(())
    });
    let answer = ask_within(held, request_within(SHORT));
    assert_eq!(answer.outcome(), Outcome::Timeout);
    let latency = answer.measured.latency;
    assert!((SHORT..AMPLE).contains(&latency), "{latency:?}");
    assert_eq!(answer.measured.rtt, None);
}

/// A socket that reserves its port and does not listen.
fn bound() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    socket
}

#[test]
fn nobody_listening_is_no_connection() {
    let socket = bound();
    let answer = ask_once(socket.local_addr().unwrap().as_socket().unwrap());
    assert_eq!(answer.outcome(), Outcome::ConnectFailed);
    let measured = answer.measured;
    assert_eq!((measured.connect, measured.request_bytes, measured.tcp_retransmits), (None, None, None));
}

#[test]
fn a_handshake_that_nobody_answers_is_no_connection_after_the_stated_time() {
    // A backlog that is full drops SYNs.
    let socket = bound();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let filling: Vec<_> = (0..4).map(|_| TcpStream::connect_timeout(&address, SHORT)).collect();
    assert!(filling.iter().any(Result::is_err), "the backlog did not fill");
    let answer = ask_within(address, Timeouts { connect: SHORT, request: AMPLE });
    assert_eq!(answer.outcome(), Outcome::ConnectFailed);
    assert!(answer.measured.latency >= SHORT, "{:?}", answer.measured);
}

#[test]
fn a_kept_connection_that_the_server_closed_meanwhile_is_made_anew() {
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
            let answer = ask(&mut transport).await;
            assert_eq!(answer.outcome(), Outcome::Ok);
            assert!(answer.measured.connect.is_some());
            is_closed.recv().await.unwrap();
            // The kernel has the FIN already; the runtime polls it while this task sleeps.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn a_late_answer_is_never_taken_for_that_to_the_next_request() {
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
        assert_eq!(ask(&mut transport).await.outcome(), Outcome::Timeout);
        timed_out.send(()).unwrap();
        let second = ask(&mut transport).await;
        assert!(second.measured.connect.is_some() || second.outcome() == Outcome::ConnectFailed, "{second:?}");
    });
}

#[test]
fn an_answers_time_is_that_until_it_arrived_and_not_until_the_program_looked() {
    const ASKED: usize = 15;
    let (times, answered) = std::sync::mpsc::channel();
    let timed = server(move |mut stream| {
        stream.set_nodelay(true)?;
        read_request(&mut stream)?;
        let read = Instant::now();
        thread::sleep(Duration::from_millis(10));
        let held = read.elapsed();
        stream.write_all(&frame(GOOD))?;
        // On the loopback a write that has returned has arrived.
        let _ = times.send((held, Instant::now()));
        Ok(())
    });
    let between: Vec<[Duration; 3]> = (0..ASKED)
        .map(|_| {
            let start = Instant::now();
            let measured = ask_once(timed).measured;
            let (held, arrived) = answered.recv().unwrap();
            [held, measured.rtt.unwrap(), arrived - start - measured.connect.unwrap()]
        })
        .collect();
    // Most, not all: converting a timestamp reads two clocks, and the program may be interrupted between them.
    let right = between.iter().filter(|[held, rtt, arrived]| held <= rtt && rtt <= arrived).count();
    assert!(right > ASKED / 2, "{between:?}");
}
