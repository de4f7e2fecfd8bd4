//! Samples made manually, each of a kind, and the parts that their latencies consist of.

use proptest::prelude::*;

use super::*;
use crate::sample::Outcome;

/// A request over a new connection: 50 ms round trip, 3 ms of the server (0.5 queue, 1 disk), nothing sent again.
fn plain() -> Sample {
    Sample {
        connect_ms: Some(50.4),
        rtt_ms: Some(53.5),
        service_ms: 104.2,
        server_ms: Some(3.0),
        server_queue_ms: Some(0.5),
        server_database_ms: Some(1.0),
        tcp_rtt_ms: Some(50.3),
        tcp_min_rtt_ms: Some(50.2),
        tcp_retransmits: Some(0),
        server_tcp_retransmits: Some(0),
        request_bytes: Some(90),
        response_bytes: Some(1200),
        ..Sample::tried("login", Outcome::Ok, 104.2)
    }
}

/// `sample`, which took `more` longer between its request and its answer.
fn longer(sample: Sample, more: f64) -> Sample {
    Sample { rtt_ms: sample.rtt_ms.map(|rtt| rtt + more), latency_ms: sample.latency_ms + more, ..sample }
}

#[track_caller]
fn check(sample: &Sample, rate_kbit: Option<f64>, expect: &[(Component, f64)]) {
    let components = Components::of(sample, LinkParameters { rate_kbit, base_rtt_ms: None });
    for part in Component::ALL {
        let expected = expect.iter().find(|(other, _)| *other == part).map_or(0.0, |(_, ms)| *ms);
        assert!((components.get(part) - expected).abs() < 1e-6, "{part:?}: expected {expected} in {components:?}");
    }
    assert!((components.total() - sample.latency_ms).abs() < 1e-6, "{components:?}");
}

const SERVER: [(Component, f64); 3] =
    [(Component::Queueing, 0.5), (Component::Server, 1.5), (Component::Database, 1.0)];

#[track_caller]
fn check_beside_server(sample: &Sample, rate_kbit: Option<f64>, expect: &[(Component, f64)]) {
    check(sample, rate_kbit, &[&SERVER, expect].concat());
}

#[test]
fn a_plain_request_is_handshake_round_trip_and_server() {
    // 53.5 − 3 = 50.5 on the network, of which 50.2 are a round trip.
    let expect = [(Component::Handshake, 50.4), (Component::RoundTrips, 50.2), (Component::Other, 0.6)];
    check_beside_server(&plain(), None, &expect);
}

#[test]
fn a_kept_connection_has_no_handshake_and_open_loop_waits() {
    let kept = Sample { connect_ms: None, latency_ms: 53.8 + 7.0, wait_ms: 7.0, ..plain() };
    let expect = [
        (Component::Queueing, 7.5),
        (Component::RoundTrips, 50.2),
        (Component::Server, 1.5),
        (Component::Database, 1.0),
        (Component::Other, 0.6),
    ];
    check(&kept, None, &expect);
}

#[test]
fn a_lost_response_is_a_stall() {
    let lost = longer(Sample { server_tcp_retransmits: Some(1), ..plain() }, 205.0);
    let expect = [
        (Component::Handshake, 50.4),
        (Component::RoundTrips, 50.2),
        (Component::Retransmission, 205.3),
        (Component::Other, 0.3),
    ];
    check_beside_server(&lost, None, &expect);
    // The server's counters are unknown, so the cause is, too.
    let untold = Sample { server_tcp_retransmits: None, ..lost };
    let expect = [(Component::Handshake, 50.4), (Component::RoundTrips, 50.2), (Component::Other, 205.6)];
    check_beside_server(&untold, None, &expect);
}

/// [`plain`] after a lost SYN-ACK, with these retransmissions by the client and by the server.
fn after_lost_syn_ack(client: u32, server: u32) -> Sample {
    Sample {
        connect_ms: Some(1051.0),
        latency_ms: 1051.0 + 53.8,
        tcp_retransmits: Some(client),
        server_tcp_retransmits: Some(server),
        ..plain()
    }
}

#[test]
fn a_lost_syn_ack_stalls_the_handshake_alone() {
    let lost = after_lost_syn_ack(1, 2);
    let expect = [
        (Component::Handshake, 50.2),
        (Component::Retransmission, 1000.8),
        (Component::RoundTrips, 50.2),
        (Component::Other, 0.6),
    ];
    check_beside_server(&lost, None, &expect);
    // And the response as well: there is more than the SYN accounts for.
    let both = longer(lost, 230.0);
    let expect = [
        (Component::Handshake, 50.2),
        (Component::Retransmission, 1231.1),
        (Component::RoundTrips, 50.2),
        (Component::Other, 0.3),
    ];
    check_beside_server(&both, None, &expect);
}

#[test]
fn a_syn_ack_that_only_the_server_retransmitted_stalls_the_handshake() {
    let lost = after_lost_syn_ack(0, 1);
    let expect = [
        (Component::Handshake, 50.2),
        (Component::Retransmission, 1000.8),
        (Component::RoundTrips, 50.2),
        (Component::Other, 0.6),
    ];
    check_beside_server(&lost, None, &expect);
    // The client retransmitted no SYN, so the server's second retransmission is the response, here by a tail loss
    // probe.
    let both = longer(after_lost_syn_ack(0, 2), 110.0);
    let expect = [
        (Component::Handshake, 50.2),
        (Component::Retransmission, 1111.1),
        (Component::RoundTrips, 50.2),
        (Component::Other, 0.3),
    ];
    check_beside_server(&both, None, &expect);
    // The client's count is unknown: the second may answer a retransmitted SYN.
    let untold = Sample { tcp_retransmits: None, ..both };
    let expect = [
        (Component::Handshake, 50.2),
        (Component::Retransmission, 1000.8),
        (Component::RoundTrips, 50.2),
        (Component::Other, 110.6),
    ];
    check_beside_server(&untold, None, &expect);
}

#[test]
fn a_long_handshake_without_retransmissions_is_none() {
    // Delay of 1.2 s: nothing was lost, the round trip is that long.
    let far = Sample {
        connect_ms: Some(1200.0),
        rtt_ms: Some(1203.0),
        latency_ms: 2403.5,
        tcp_min_rtt_ms: Some(1200.0),
        ..plain()
    };
    let expect = [(Component::Handshake, 1200.0), (Component::RoundTrips, 1200.0), (Component::Other, 0.5)];
    check_beside_server(&far, None, &expect);
}

#[test]
fn a_set_rate_is_transmission_with_its_queue() {
    // 100 kbit/s: 1200 + 52 bytes take 100.16 ms; 400 ms of queue before them, and 30 before the SYN-ACK.
    let slow = longer(Sample { connect_ms: Some(80.2), latency_ms: 134.0, ..plain() }, 500.16);
    let expect = [
        (Component::Handshake, 50.2),
        (Component::RoundTrips, 50.2),
        (Component::Transmission, 30.0 + 500.46),
        (Component::Other, 0.3),
    ];
    check_beside_server(&slow, Some(100.0), &expect);
    // One segment sent again, and the kernel saw 150 ms of queue: the rest is a stall.
    let resent = Sample { server_tcp_retransmits: Some(1), server_tcp_rtt_ms: Some(200.2), ..slow };
    let expect = [
        (Component::Handshake, 50.2),
        (Component::RoundTrips, 50.2),
        (Component::Transmission, 30.0 + 100.16 + 150.0),
        (Component::Retransmission, 250.3),
        (Component::Other, 0.3),
    ];
    check_beside_server(&resent, Some(100.0), &expect);
}

#[test]
fn a_syn_ack_that_waited_beyond_its_timeout_in_the_queue_is_both() {
    let queued = Sample { connect_ms: Some(1450.2), latency_ms: 1504.0, tcp_retransmits: Some(1), ..plain() };
    let expect = [
        (Component::Handshake, 50.2),
        (Component::Retransmission, 1000.0),
        (Component::Transmission, 400.0 + 0.3),
        (Component::RoundTrips, 50.2),
        (Component::Other, 0.3),
    ];
    check_beside_server(&queued, Some(1000.0), &expect);
}

#[test]
fn behind_a_rate_the_shortest_round_trip_of_the_cell_is_the_links() {
    // All packets of this connection queued for 45 ms.
    let queued = Sample { connect_ms: Some(95.2), tcp_min_rtt_ms: Some(95.2), latency_ms: 149.0, ..plain() };
    let all = [&queued, &plain()];
    let link = LinkParameters::of(&all, Some(500.0));
    assert_eq!(link.base_rtt_ms, Some(50.2));
    let components = Components::of(&queued, link);
    assert!(
        (components.get(Component::Handshake) - 50.2).abs() < 1e-6
            && (components.get(Component::Transmission) - 45.3).abs() < 1e-6
    );
    // Without a rate each connection tells for itself: with jitter, the shortest of all belongs to no connection.
    assert_eq!(LinkParameters::of(&all, None), LinkParameters::default());
}

#[test]
fn the_round_trip_since_a_lost_syn_is_no_queue() {
    // Linux takes the time since the first SYN for the first round trip.
    let lost = Sample {
        connect_ms: Some(1050.2),
        latency_ms: 1050.2 + 53.8,
        tcp_rtt_ms: Some(926.0),
        tcp_retransmits: Some(1),
        server_tcp_retransmits: Some(3),
        ..plain()
    };
    let lost = longer(lost, 205.0);
    let expect = [
        (Component::Handshake, 50.2),
        (Component::RoundTrips, 50.2),
        (Component::Transmission, 1252.0 * 8.0 / 2000.0),
        (Component::Retransmission, 1205.3 - 1252.0 * 8.0 / 2000.0),
        (Component::Other, 0.3),
    ];
    check_beside_server(&lost, Some(2000.0), &expect);
}

#[test]
fn a_long_response_takes_further_round_trips() {
    // 40 kB: windows of 14480 and 28960 bytes, so one further flight.
    let long = longer(Sample { response_bytes: Some(40_000), ..plain() }, 50.2);
    let expect = [(Component::Handshake, 50.4), (Component::RoundTrips, 100.4), (Component::Other, 0.6)];
    check_beside_server(&long, None, &expect);
    // 50 kB: three flights.
    let longer_still = longer(Sample { response_bytes: Some(50_000), ..plain() }, 105.0);
    let expect = [(Component::Handshake, 50.4), (Component::RoundTrips, 150.6), (Component::Other, 5.2)];
    check_beside_server(&longer_still, None, &expect);
    // At 1 Mbit/s ten segments take 120 ms, and the window opens before they are through.
    let expect = [
        (Component::Handshake, 50.2),
        (Component::Transmission, 105.5),
        (Component::RoundTrips, 50.2),
        (Component::Other, 0.3),
    ];
    check_beside_server(&longer_still, Some(1000.0), &expect);
}

#[test]
fn without_a_round_trip_the_network_is_not_told() {
    let untold = Sample { tcp_min_rtt_ms: None, tcp_rtt_ms: None, ..plain() };
    check_beside_server(&untold, None, &[(Component::Handshake, 50.4), (Component::Other, 50.8)]);
    let smoothed = Sample { tcp_min_rtt_ms: None, ..plain() };
    let expect = [(Component::Handshake, 50.4), (Component::RoundTrips, 50.3), (Component::Other, 0.5)];
    check_beside_server(&smoothed, None, &expect);
}

#[test]
fn what_failed_stalled_where_segments_were_sent_again() {
    let timeout = Sample {
        connect_ms: Some(50.4),
        tcp_min_rtt_ms: Some(50.2),
        tcp_retransmits: Some(4),
        ..Sample::tried("login", Outcome::Timeout, 5000.0)
    };
    check(&timeout, None, &[(Component::Handshake, 50.4), (Component::Retransmission, 4949.6)]);
    let silent = Sample { tcp_retransmits: Some(0), ..timeout };
    check(&silent, None, &[(Component::Handshake, 50.4), (Component::Other, 4949.6)]);
    check(&Sample::tried("login", Outcome::ConnectFailed, 0.2), None, &[(Component::Other, 0.2)]);
}

fn duration() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), 0.0..1.0f64, 0.0..3000.0f64]
}

fn known() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        3 => duration().prop_map(Some),
        1 => Just(None),
        1 => prop_oneof![Just(-5.0), Just(f64::NAN), Just(f64::INFINITY)].prop_map(Some),
    ]
}

prop_compose! {
    fn any_sample()(
        (latency_ms, wait_ms) in (duration(), duration()),
        [connect_ms, rtt_ms, server_ms, server_queue_ms, server_database_ms] in
            [known(), known(), known(), known(), known()],
        [tcp_rtt_ms, tcp_min_rtt_ms, server_tcp_rtt_ms] in [known(), known(), known()],
        (tcp_retransmits, server_tcp_retransmits) in (prop::option::of(0..9u32), prop::option::of(0..9u32)),
        response_bytes in prop::option::of(0..20_000_000u64),
    ) -> Sample {
        Sample {
            wait_ms, connect_ms, rtt_ms, server_ms, server_queue_ms, server_database_ms, tcp_rtt_ms, tcp_min_rtt_ms,
            server_tcp_rtt_ms, tcp_retransmits, server_tcp_retransmits, response_bytes,
            ..Sample::tried("login", Outcome::Ok, latency_ms)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn the_parts_of_any_sample_add_up_and_none_is_negative(
        sample in any_sample(), rate_kbit in known(), base_rtt_ms in known(),
    ) {
        let components = Components::of(&sample, LinkParameters { rate_kbit, base_rtt_ms });
        for part in Component::ALL {
            prop_assert!(components.get(part) >= 0.0, "{part:?} of {components:?}");
        }
        prop_assert!((components.total() - sample.latency_ms).abs() < 1e-6, "{} in {components:?}", sample.latency_ms);
    }
}
