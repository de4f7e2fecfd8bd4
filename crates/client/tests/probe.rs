//! The probe against real kernels: loopback, and links between network namespaces.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "suite/common.rs"]
mod common;

use std::process::{Command, ExitCode, Output};

use client::probe::ProbeReport;
use common::{client, succeed};
use test_support::{Requirement, requirements, test};

fn main() -> ExitCode {
    let namespace: &[Requirement] = &[requirements::named_namespaces];
    let another_user: &[Requirement] = &[|| {
        requirements::program("setpriv", &["--reuid=65534", "--regid=65534", "--clear-groups", "true"], "util-linux")
    }];
    let tests = [
        test!(loopback_replies_to_every_request_in_order).needs(namespace),
        test!(without_root_a_ping_socket_is_used_or_the_missing_permission_reported)
            .needs(namespace)
            .needs(another_user),
        test!(a_host_that_does_not_reply_has_lost_all_requests_and_has_no_median).needs(namespace),
        test!(an_unreachable_network_is_reported).needs(namespace),
        test!(a_burst_through_a_token_bucket_measures_its_rate).needs(namespace).needs(&[token_bucket]),
        test!(a_burst_that_the_server_may_not_answer_completely_is_rejected_without_force),
        test!(help_names_every_option_with_its_unit),
        test!(udp_echo_is_answered_by_the_shops_server_and_by_nothing_else),
        test!(handshakes_are_timed_and_a_closed_port_is_an_error),
    ];
    // These tests mostly wait.
    test_support::run(2, tests.map(test_support::Test::shared))
}

/// Checks for a kernel with the queueing discipline tbf.
fn token_bucket() -> Result<(), String> {
    let output = in_namespace("tc qdisc add dev lo root tbf rate 2mbit burst 6000 limit 200000");
    let stderr = String::from_utf8_lossy(&output.stderr);
    output.status.success().then_some(()).ok_or_else(|| format!("needs tc and the kernel's tbf: {}", stderr.trim()))
}

fn report(output: &Output) -> ProbeReport {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Runs a shell script in a new network namespace; `$CLIENT` is the path of the client.
fn in_namespace(script: &str) -> Output {
    let mut command = Command::new("unshare");
    command.args(["-n", "sh", "-ec", &format!("ip link set lo up\n{script}")]);
    command.env("CLIENT", env!("CARGO_BIN_EXE_shop-client"));
    command.output().unwrap()
}

fn loopback_replies_to_every_request_in_order() {
    let output = in_namespace("$CLIENT probe --server 127.0.0.1 --count 100 --interval 1ms --timeout 60s");
    let report = report(&output);
    assert_eq!((report.sent, report.received, report.duplicates, report.reordered), (100, 100, 0, 0));
    assert!(report.rtt_us.iter().flatten().all(|rtt| *rtt >= 1.0), "{report:?}");
    let (min, median, max) = (report.min_us.unwrap(), report.median_us.unwrap(), report.max_us.unwrap());
    assert!(min <= median && median <= report.p99_us.unwrap() && report.p99_us.unwrap() <= max);
    assert_eq!((report.arrival_us, report.rate_bits_per_second), (None, None));
}

fn without_root_a_ping_socket_is_used_or_the_missing_permission_reported() {
    let user = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    let allowed = format!(
        "echo '0 65534' >/proc/sys/net/ipv4/ping_group_range; {user} $CLIENT probe --server 127.0.0.1 --count 20"
    );
    let forbidden =
        format!("echo '1 0' >/proc/sys/net/ipv4/ping_group_range; {user} $CLIENT probe --server 127.0.0.1 --count 20");
    let (allowed, forbidden) = (in_namespace(&allowed), in_namespace(&forbidden));
    assert_eq!(report(&allowed).received, 20);
    assert_eq!(forbidden.status.code(), Some(1));
    let stderr = String::from_utf8(forbidden.stderr).unwrap();
    assert!(stderr.contains("CAP_NET_RAW") && stderr.contains("ping_group_range"), "{stderr}");
}

fn a_host_that_does_not_reply_has_lost_all_requests_and_has_no_median() {
    let script = "echo 1 >/proc/sys/net/ipv4/icmp_echo_ignore_all
        $CLIENT probe --server 127.0.0.1 --count 5 --timeout 200ms";
    let output = in_namespace(script);
    let report = report(&output);
    assert_eq!((report.sent, report.received, report.median_us), (5, 0, None));
    assert_eq!(report.rtt_us, [None; 5]);
}

fn an_unreachable_network_is_reported() {
    let output = in_namespace("$CLIENT probe --server 192.0.2.1 --count 5");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("192.0.2.1") && stderr.contains("unreachable"), "{stderr}");
}

fn a_burst_through_a_token_bucket_measures_its_rate() {
    let name = format!("shop-probe-{}", std::process::id());
    let script = format!(
        "ip netns add {name}
        trap 'ip netns del {name}' EXIT
        ip link add here type veth peer name there netns {name}
        ip address add 10.213.0.1/24 dev here; ip link set here up
        ip -n {name} address add 10.213.0.2/24 dev there; ip -n {name} link set there up
        ip netns exec {name} tc qdisc add dev there root tbf rate 2mbit burst 6000 limit 200000
        $CLIENT probe --server 10.213.0.2 --count 1 >/dev/null
        $CLIENT probe --server 10.213.0.2 --burst 40 --size 1400"
    );
    let output = in_namespace(&script);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report = report(&output);
    assert_eq!(report.received, 40, "{report:?}");
    // A token bucket counts Ethernet headers (14 bytes): 2 Mbit/s are 1.981 Mbit/s of IP packets.
    let expected = 2e6 * 1428.0 / 1442.0;
    let rate = report.rate_bits_per_second.unwrap();
    // Never above the bucket's rate; below it if a busy host serves the bucket late.
    assert!((0.5..1.03).contains(&(rate / expected)), "{rate}, expected {expected}");
    let arrivals = report.arrival_us.unwrap();
    assert!(arrivals.len() == 40 && arrivals.is_sorted(), "{arrivals:?}");
}

fn a_burst_that_the_server_may_not_answer_completely_is_rejected_without_force() {
    let output = client(["probe", "--server", "127.0.0.1", "--burst", "41"]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && stderr.contains("--force"), "{stderr}");
}

fn help_names_every_option_with_its_unit() {
    let help = String::from_utf8(succeed(&mut client(["probe", "--help"])).stdout).unwrap();
    for option in ["--server <HOST>", "--interval <TIME>", "--size <BYTES>", "--burst <N>"] {
        assert!(help.contains(option), "{option} is not in\n{help}");
    }
}

fn udp_echo_is_answered_by_the_shops_server_and_by_nothing_else() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port().to_string();
    std::thread::spawn(move || server::echo::serve(&socket));
    let probe = |options: &[&str]| {
        let output = client([&["probe", "--server", "127.0.0.1"], options].concat()).output();
        report(&output.unwrap())
    };
    // Does not expire, because every reply arrives.
    let timeout = ["--timeout", "60s"];
    let spaced = probe(&[&timeout[..], &["--udp", &port, "--count", "100", "--interval", "1ms"]].concat());
    assert_eq!((spaced.sent, spaced.received, spaced.duplicates, spaced.reordered), (100, 100, 0, 0));
    let burst = probe(&[&timeout[..], &["--udp", &port, "--burst", "40", "--size", "1400"]].concat());
    assert_eq!((burst.received, burst.arrival_us.map(|all| all.len())), (40, Some(40)));
    // A connected socket reserves the port, and the kernel rejects datagrams of other peers.
    let reserved = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    reserved.connect("127.0.0.1:9").unwrap();
    let closed = reserved.local_addr().unwrap().port().to_string();
    let silent = probe(&["--timeout", "300ms", "--udp", &closed, "--count", "5"]);
    assert_eq!((silent.sent, silent.received), (5, 0));
}

fn handshakes_are_timed_and_a_closed_port_is_an_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let probe = |port: &str| {
        let options = ["probe", "--server", "127.0.0.1", "--tcp", port, "--count", "5", "--interval", "0ms"];
        client(options).output().unwrap()
    };
    let report = report(&probe(&port));
    assert_eq!((report.sent, report.received), (5, 5));
    assert!(report.min_us.unwrap() > 0.0);
    let (_reserved, closed) = common::closed_port();
    let (_, closed) = closed[0].split_once('=').unwrap();
    let refused = probe(closed);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("refused"));
}
