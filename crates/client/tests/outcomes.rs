//! What the client makes of servers that misbehave, over real sockets.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use shop_client::sample::Outcome;
use shop_client::wire::{Answer, ConnectionMode, Endpoints, Timeouts, Wire};
use shop_protocol::response::Categories;
use shop_protocol::{Request, encode_frame};
use socket2::SockRef;

const GOOD: &[u8] = br#"{"ok":true,"server_us":250,"result":{"categories":[]}}"#;
const REFUSED: &[u8] = br#"{"ok":false,"server_us":250,"error":{"code":"overloaded","message":"full"}}"#;
const PATIENCE: Duration = Duration::from_millis(300);

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

fn wire(address: SocketAddr, mode: ConnectionMode) -> Wire {
    let port = address.port();
    let endpoints = Endpoints { address: address.ip(), accounts_port: port, shop_port: port };
    Wire::new(endpoints, mode, Timeouts { connect: PATIENCE, request: PATIENCE })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

async fn ask(wire: &mut Wire) -> Answer<Categories> {
    wire.exchange(&Request::ViewCategories {}, Instant::now()).await
}

fn ask_once(address: SocketAddr) -> Answer<Categories> {
    block_on(async { ask(&mut wire(address, ConnectionMode::PerRequest)).await })
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
    assert!(measured.tcp_rtt.is_some_and(|rtt| rtt < PATIENCE), "{measured:?}");
}

#[test]
fn an_answer_with_an_error_is_refused_and_the_connection_stays() {
    let address = answers(frame(REFUSED));
    block_on(async {
        let mut wire = wire(address, ConnectionMode::Persistent);
        for connects in [true, false, false] {
            let answer = ask(&mut wire).await;
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
        assert_eq!(ask_once(answers(bytes)).outcome(), outcome, "{what}");
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
    let answer = ask_once(held);
    assert_eq!(answer.outcome(), Outcome::Timeout);
    let latency = answer.measured.latency;
    assert!((PATIENCE..PATIENCE + Duration::from_millis(50)).contains(&latency), "{latency:?}");
    assert_eq!(answer.measured.rtt, None);
}

#[test]
fn nobody_listening_is_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let answer = ask_once(address);
    assert_eq!(answer.outcome(), Outcome::ConnectFailed);
    let measured = answer.measured;
    assert_eq!((measured.connect, measured.request_bytes, measured.tcp_retransmits), (None, None, None));
}

#[test]
fn a_handshake_that_nobody_answers_is_no_connection_after_the_stated_time() {
    // A backlog that is full drops SYNs.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let filling: Vec<_> = (0..4).map(|_| TcpStream::connect_timeout(&address, PATIENCE)).collect();
    assert!(filling.iter().any(Result::is_err), "the backlog did not fill");
    let answer = ask_once(address);
    assert_eq!(answer.outcome(), Outcome::ConnectFailed);
    assert!(answer.measured.latency >= PATIENCE, "{:?}", answer.measured);
}

#[test]
fn a_kept_connection_that_the_server_closed_meanwhile_is_made_anew() {
    let once = server(|mut stream| {
        read_request(&mut stream)?;
        stream.write_all(&frame(GOOD))
    });
    block_on(async {
        let mut wire = wire(once, ConnectionMode::Persistent);
        for _ in 0..3 {
            let answer = ask(&mut wire).await;
            assert_eq!(answer.outcome(), Outcome::Ok);
            assert!(answer.measured.connect.is_some());
            // The thinking in which the runtime hears of the close.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn a_late_answer_is_never_taken_for_that_to_the_next_request() {
    let late = server(|mut stream| {
        read_request(&mut stream)?;
        thread::sleep(PATIENCE + Duration::from_millis(50));
        stream.write_all(&frame(GOOD))?;
        read_request(&mut stream)?;
        stream.write_all(&frame(REFUSED))
    });
    block_on(async {
        let mut wire = wire(late, ConnectionMode::Persistent);
        assert_eq!(ask(&mut wire).await.outcome(), Outcome::Timeout);
        let second = ask(&mut wire).await;
        assert!(second.measured.connect.is_some() || second.outcome() == Outcome::ConnectFailed, "{second:?}");
    });
}

#[test]
fn an_answer_after_fifty_milliseconds_is_measured_as_that() {
    const WAIT: Duration = Duration::from_millis(50);
    let exact = server(|mut stream| {
        stream.set_nodelay(true)?;
        read_request(&mut stream)?;
        let due = Instant::now() + WAIT;
        thread::sleep(WAIT - Duration::from_millis(3));
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        stream.write_all(&frame(GOOD))
    });
    let mut rtts: Vec<Duration> = (0..15).filter_map(|_| ask_once(exact).measured.rtt).collect();
    rtts.sort_unstable();
    assert_eq!(rtts.len(), 15);
    assert!(rtts[0] >= WAIT, "{rtts:?}");
    // The median: on a busy machine single ones are late for reasons that are not ours.
    assert!(rtts[7] <= Duration::from_millis(55), "{rtts:?}");
}
