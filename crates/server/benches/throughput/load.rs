//! Load generator: the same for shop and echo.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use protocol::encode_frame;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::attack;
use crate::cases::PRODUCTS;
use crate::echo::frame_length;
use crate::target::Process;

/// Digits of an idempotency key.
const KEY_DIGITS: usize = 16;

/// Time from the start of an attack to the measurement: opening 600 connections at once is work for the load generator, too.
const ATTACK_LEAD: Duration = Duration::from_secs(1);

/// Source of idempotency keys: no two orders of a bench have the same.
static NEXT_KEY: AtomicU64 = AtomicU64::new(0);

/// Request of a connection, as a frame.
#[derive(Clone)]
pub(crate) struct Request {
    frame: Vec<u8>,
    /// Where in the frame the idempotency key starts.
    key: Option<usize>,
}

#[derive(Clone, Copy)]
pub(crate) enum Mode {
    /// Connections are kept; on each, so many requests are sent in one write, and their responses awaited.
    Persistent { in_flight: usize },
    /// A connection per request.
    PerRequest,
    /// Requests at a constant rate, on the connections in turn.
    Rate { per_second: u32 },
}

/// Load on one address: a task per request in `requests`.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) mode: Mode,
    pub(crate) requests: Vec<Request>,
}

/// What runs in addition to a load that is measured.
pub(crate) enum Background {
    Load(Load),
    /// Hostile clients of the shop at this address.
    Attack(SocketAddr),
}

/// Result of one measurement.
#[derive(Clone, Copy)]
pub(crate) struct Summary {
    pub(crate) per_second: f64,
    /// CPU time of the process per request, µs.
    pub(crate) cpu_us: Option<f64>,
    /// p50 and p99 of the latency, µs.
    pub(crate) latency_us: Option<[f64; 2]>,
}

impl Request {
    pub(crate) fn fixed(request: &Value) -> Self {
        Self { frame: encode_frame(request.to_string().as_bytes()).unwrap(), key: None }
    }

    /// Returns an order of two products with a new idempotency key each time.
    pub(crate) fn order(token: &str, index: u64) -> Self {
        let item = |offset| json!({"product_id": 1 + (index + offset) % PRODUCTS, "quantity": 1});
        let key = "0".repeat(KEY_DIGITS);
        let request =
            json!({"command": "place_order", "token": token, "items": [item(0), item(1)], "idempotency_key": key});
        let request = Self::fixed(&request);
        let text = String::from_utf8_lossy(&request.frame[4..]).into_owned();
        let key = 4 + text.find(&format!("\"{key}\"")).unwrap() + 1;
        Self { key: Some(key), ..request }
    }

    /// Appends the request to `output`.
    fn append_to(&self, output: &mut Vec<u8>) {
        let start = output.len();
        output.extend_from_slice(&self.frame);
        if let Some(key) = self.key {
            let digits = format!("{:0KEY_DIGITS$}", NEXT_KEY.fetch_add(1, Ordering::Relaxed));
            output[start + key..][..KEY_DIGITS].copy_from_slice(digits.as_bytes());
        }
    }
}

impl Load {
    /// Returns the length of a response with its header.
    #[tokio::main(flavor = "current_thread")]
    pub(crate) async fn response_bytes(&self) -> usize {
        let mut connection = Connection::open(self.address).await;
        connection.exchange(&self.requests[0], 1).await
    }

    /// Runs the load for `duration`.
    pub(crate) fn run(&self, process: &Process, duration: Duration) -> Summary {
        self.run_with(None, process, duration)
    }

    /// Runs the load for `duration`. What runs in the background is not counted.
    #[tokio::main]
    pub(crate) async fn run_with(
        &self,
        background: Option<&Background>,
        process: &Process,
        duration: Duration,
    ) -> Summary {
        let mut attack = JoinSet::new();
        if let Some(Background::Attack(address)) = background {
            attack = attack::start(*address, Instant::now() + ATTACK_LEAD + duration);
            tokio::time::sleep(ATTACK_LEAD).await;
        }
        let (cpu_before, start) = (process.cpu_us(), Instant::now());
        let end = start + duration;
        let other = match background {
            Some(Background::Load(load)) => Some((load, load.spawn(end))),
            _ => None,
        };
        let latencies = self.spawn(end).join_all().await;
        let elapsed = start.elapsed();
        attack.shutdown().await;
        if let Some((load, tasks)) = other {
            let done = tasks.join_all().await.iter().map(Vec::len).sum::<usize>() as f64;
            if let Mode::Rate { per_second } = load.mode {
                let intended = f64::from(per_second) * duration.as_secs_f64();
                assert!(done >= 0.95 * intended, "{done} of {intended} background requests were answered");
            }
        }
        let cpu_us = process.cpu_us() - cpu_before;
        let mut latencies: Vec<Duration> = latencies.into_iter().flatten().collect();
        latencies.sort_unstable();
        let percentile = |percent: usize| latencies[(latencies.len() - 1) * percent / 100].as_secs_f64() * 1e6;
        Summary {
            per_second: latencies.len() as f64 / elapsed.as_secs_f64(),
            cpu_us: Some(cpu_us / latencies.len() as f64),
            latency_us: Some([percentile(50), percentile(99)]),
        }
    }

    /// Starts a task per request. Each returns the latencies of its requests.
    fn spawn(&self, end: Instant) -> JoinSet<Vec<Duration>> {
        let mut tasks = JoinSet::new();
        let connections = self.requests.len();
        for request in &self.requests {
            let (address, request) = (self.address, Arc::new(request.clone()));
            match self.mode {
                Mode::Persistent { in_flight } => {
                    tasks.spawn(async move { persistent(address, &request, in_flight, end).await })
                }
                Mode::PerRequest => tasks.spawn(async move { per_request(address, &request, end).await }),
                Mode::Rate { per_second } => {
                    let interval = Duration::from_secs(1) * u32::try_from(connections).unwrap() / per_second;
                    tasks.spawn(async move { at_rate(address, &request, interval, end).await })
                }
            };
        }
        tasks
    }
}

async fn persistent(address: SocketAddr, request: &Request, in_flight: usize, end: Instant) -> Vec<Duration> {
    let mut connection = Connection::open(address).await;
    let mut latencies = Vec::new();
    let mut now = Instant::now();
    while now < end {
        connection.exchange(request, in_flight).await;
        let done = Instant::now();
        latencies.extend(std::iter::repeat_n(done - now, in_flight));
        now = done;
    }
    latencies
}

async fn per_request(address: SocketAddr, request: &Request, end: Instant) -> Vec<Duration> {
    let mut latencies = Vec::new();
    let mut now = Instant::now();
    while now < end {
        let mut connection = Connection::open(address).await;
        connection.exchange(request, 1).await;
        // Closes with a reset: in TIME_WAIT, 28,000 local ports would limit the rate.
        connection.stream.set_zero_linger().unwrap();
        drop(connection);
        let done = Instant::now();
        latencies.push(done - now);
        now = done;
    }
    latencies
}

async fn at_rate(address: SocketAddr, request: &Request, interval: Duration, end: Instant) -> Vec<Duration> {
    let mut connection = Connection::open(address).await;
    let mut latencies = Vec::new();
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while Instant::now() < end {
        ticks.tick().await;
        let start = Instant::now();
        connection.exchange(request, 1).await;
        latencies.push(start.elapsed());
    }
    latencies
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, input: Vec::with_capacity(16 * 1024), output: Vec::new() }
    }

    /// Sends `in_flight` requests and waits for their responses. Returns the bytes of the responses.
    async fn exchange(&mut self, request: &Request, in_flight: usize) -> usize {
        self.output.clear();
        for _ in 0..in_flight {
            request.append_to(&mut self.output);
        }
        self.stream.write_all(&self.output).await.unwrap();
        let (mut pending, mut bytes) = (in_flight, 0);
        while pending > 0 {
            let received = self.stream.read_buf(&mut self.input).await.unwrap();
            assert!(received > 0, "connection closed before all responses");
            let mut start = 0;
            while let Some(length) = frame_length(&self.input[start..]) {
                let payload = &self.input[start + 4..start + length];
                assert!(
                    payload.starts_with(br#"{"ok":true"#) || payload.starts_with(b"xx"),
                    "{}",
                    String::from_utf8_lossy(payload)
                );
                start += length;
                pending -= 1;
            }
            bytes += start;
            self.input.drain(..start);
        }
        bytes
    }
}
