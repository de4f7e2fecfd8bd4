//! Compares the client's RTTs with those of a packet capture of the same run.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the failure")]

mod common;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use common::{Running, netns_as_root};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::sockopt::{ReceiveTimeout, ReceiveTimestampns};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::Pid;
use test_support::{run, test};

fn main() -> ExitCode {
    let tests = [
        test!(the_rtts_of_a_client_match_a_packet_capture).needs(&[netns_as_root]).exclusive(),
        test!(a_client_adds_less_than_100_us_to_an_rtt)
            .needs(&[netns_as_root])
            .exclusive()
            .on_request("compares times, so it needs an idle host"),
    ];
    run(1, tests)
}

/// Maximum median difference on an idle host, milliseconds. The target is 0.05; 0.01 to 0.03 are measured.
const MAX_MEDIAN_MS: f64 = 0.1;
/// `samples.csv` rounds to microseconds.
const ROUNDING_MS: f64 = 0.001;

/// A captured TCP segment with payload.
struct Segment {
    at: Duration,
    is_from_client: bool,
    client_port: u16,
}

/// Parses Ethernet, IPv4 and TCP. Returns `None` for anything else, and for segments without payload.
fn segment(at: Duration, frame: &[u8]) -> Option<Segment> {
    let is_ipv4 = frame.get(12..14)? == [8, 0];
    let ip = frame.get(14..)?;
    let header = usize::from(ip.first()? & 0xf) * 4;
    let length = usize::from(u16::from_be_bytes([*ip.get(2)?, *ip.get(3)?]));
    if !is_ipv4 || *ip.get(9)? != 6 {
        return None;
    }
    let tcp = ip.get(header..)?;
    let port = |at: usize| Some(u16::from_be_bytes([*tcp.get(at)?, *tcp.get(at + 1)?]));
    let (source, target) = (port(0)?, port(2)?);
    let tcp_header = usize::from(tcp.get(12)? >> 4) * 4;
    if length <= header + tcp_header {
        return None;
    }
    let is_from_client = matches!(target, 5000 | 5001);
    Some(Segment { at, is_from_client, client_port: if is_from_client { source } else { target } })
}

/// Captures all packets in a process's network namespace, with the kernel's timestamps, until the sender is dropped.
fn capture(process: Pid, until: mpsc::Receiver<()>) -> JoinHandle<Vec<Segment>> {
    let namespace = File::open(format!("/proc/{process}/ns/net")).unwrap();
    let (ready, is_ready) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
        let packets =
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll).unwrap();
        setsockopt(&packets, ReceiveTimestampns, &true).unwrap();
        setsockopt(&packets, ReceiveTimeout, &TimeVal::milliseconds(50)).unwrap();
        ready.send(()).unwrap();
        let mut segments = Vec::new();
        while !matches!(until.try_recv(), Err(mpsc::TryRecvError::Disconnected)) {
            segments.extend(next(&packets));
        }
        segments
    });
    is_ready.recv().unwrap();
    thread
}

fn next(packets: &OwnedFd) -> Option<Segment> {
    let mut frame = vec![0; 70_000];
    let mut space = nix::cmsg_space!(nix::sys::time::TimeSpec);
    let mut buffers = [IoSliceMut::new(&mut frame)];
    let message = recvmsg::<()>(packets.as_raw_fd(), &mut buffers, Some(&mut space), MsgFlags::empty()).ok()?;
    let at = message.cmsgs().unwrap().find_map(|message| match message {
        ControlMessageOwned::ScmTimestampns(time) => Some(Duration::from(time)),
        _ => None,
    });
    let length = message.bytes;
    segment(at.unwrap(), &frame[..length])
}

/// Returns the RTT of each operation, milliseconds: first segment of the request to last segment of the response. Each
/// operation has its own connection and a request of one segment. Ports are reused: a request that follows a response
/// on the same port belongs to the next connection.
fn rtts(segments: &[Segment]) -> Vec<f64> {
    let mut operations: Vec<(Duration, Option<Duration>)> = Vec::new();
    let mut latest: BTreeMap<u16, usize> = BTreeMap::new();
    for segment in segments {
        let open = latest.get(&segment.client_port).copied();
        match (segment.is_from_client, open) {
            (true, open) if open.is_none_or(|index| operations[index].1.is_some()) => {
                latest.insert(segment.client_port, operations.len());
                operations.push((segment.at, None));
            }
            (false, Some(index)) => operations[index].1 = Some(segment.at),
            _ => {}
        }
    }
    operations.iter().map(|(first, last)| (last.unwrap_or(*first) - *first).as_secs_f64() * 1e3).collect()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Times of one operation, milliseconds.
struct Operation {
    client_rtt: f64,
    wire_rtt: f64,
    /// Arrival of the response to the end of its decoding.
    decoding: f64,
}

/// Runs a client in two cells with different delays, and captures its packets in both.
fn captured_operations() -> Vec<Operation> {
    let arguments =
        "run --backend netns --emulator shaper --clients 1 --duration 2s --warm-up 0s --think-time 5ms --delay 0,20ms";
    let running = Running::start(&arguments.split(' ').collect::<Vec<_>>());
    let client = running.wait_for_child(&["workload", "delay-0-r1"]);
    let (capturing, until) = mpsc::channel();
    let captured = capture(client, until);
    let finished = running.end();
    drop(capturing);
    // An overloaded host has exit code 3: that does not affect this comparison.
    assert!(matches!(finished.code(), Some(0 | 3)), "{}", finished.printed());
    let wire_rtts = rtts(&captured.join().unwrap());
    let samples = finished.run().csv("samples.csv");
    let in_last_cell = samples.iter().filter(|sample| sample["cell"] == "delay-20ms-r1").count();
    // The capture may start late and miss the first operations, but no later ones.
    assert!(
        (in_last_cell + 1..=samples.len()).contains(&wire_rtts.len()),
        "{} operations of {} captured, {in_last_cell} in the last cell",
        wire_rtts.len(),
        samples.len()
    );
    let pairs = samples.iter().rev().zip(wire_rtts.into_iter().rev());
    pairs.map(|(sample, wire_rtt)| operation(sample, wire_rtt)).collect()
}

fn operation(sample: &BTreeMap<String, String>, wire_rtt: f64) -> Operation {
    let number = |column: &str| sample[column].parse::<f64>().unwrap();
    let client_rtt = number("rtt_ms");
    Operation { client_rtt, wire_rtt, decoding: number("service_ms") - number("connect_ms") - client_rtt }
}

/// The client starts its clock before it sends, and uses the kernel's timestamp of the response, as the capture does.
/// Its RTT is therefore never shorter. It adds a system call, which is shorter than waking up for the response. A slow
/// host affects both sides of each comparison.
fn the_rtts_of_a_client_match_a_packet_capture() {
    let operations = captured_operations();
    for Operation { client_rtt, wire_rtt, decoding } in &operations {
        assert!(*client_rtt >= wire_rtt - ROUNDING_MS, "client {client_rtt} ms, wire {wire_rtt} ms");
        assert!(*decoding >= -ROUNDING_MS, "the response was decoded {decoding} ms after its arrival");
    }
    let added = median(operations.iter().map(|operation| operation.client_rtt - operation.wire_rtt));
    let decoding = median(operations.iter().map(|operation| operation.decoding));
    assert!(added < decoding, "median: the client adds {added:.3} ms and decodes a response in {decoding:.3} ms");
}

fn a_client_adds_less_than_100_us_to_an_rtt() {
    let added = median(captured_operations().iter().map(|operation| operation.client_rtt - operation.wire_rtt));
    assert!((0.0..MAX_MEDIAN_MS).contains(&added), "median {added:.3} ms, expected less than {MAX_MEDIAN_MS} ms");
}
