//! Hand-written operations of each kind, and the components of their latencies.

use proptest::prelude::*;

use super::*;

/// A request over a new connection: 50 ms round trip, 3 ms server time (0.5 queue, 1 database), no retransmission.
fn plain() -> Timings {
    Timings {
        connect_ms: Some(50.4),
        rtt_ms: Some(53.5),
        latency_ms: 104.2,
        service_ms: 104.2,
        server_ms: Some(3.0),
        server_queue_ms: Some(0.5),
        server_database_ms: Some(1.0),
        tcp_rtt_ms: Some(50.3),
        tcp_min_rtt_ms: Some(50.2),
        tcp_retransmits: Some(0),
        server_tcp_retransmits: Some(0),
        response_bytes: Some(1200),
        ..Timings::default()
    }
}

/// Adds `extra_ms` between the request and the response.
fn longer(timings: Timings, extra_ms: f64) -> Timings {
    Timings { rtt_ms: timings.rtt_ms.map(|rtt| rtt + extra_ms), latency_ms: timings.latency_ms + extra_ms, ..timings }
}

#[track_caller]
fn check(timings: &Timings, rate_kbit: Option<f64>, expected: &[(Component, f64)]) {
    let components = Components::of(timings, LinkParameters { rate_kbit, base_rtt_ms: None });
    for component in Component::ALL {
        let expected_ms = expected.iter().find(|(other, _)| *other == component).map_or(0.0, |(_, ms)| *ms);
        assert!(
            (components.get(component) - expected_ms).abs() < 1e-6,
            "{component:?}: expected {expected_ms} in {components:?}"
        );
    }
    assert!((components.total() - timings.latency_ms).abs() < 1e-6, "{components:?}");
}

const SERVER: [(Component, f64); 3] =
    [(Component::Queueing, 0.5), (Component::Server, 1.5), (Component::Database, 1.0)];

#[track_caller]
fn check_with_server(timings: &Timings, rate_kbit: Option<f64>, expected: &[(Component, f64)]) {
    check(timings, rate_kbit, &[&SERVER, expected].concat());
}

#[test]
fn a_plain_request_is_handshake_round_trip_and_server() {
    // 53.5 − 3 = 50.5 on the network, of which 50.2 are a round trip.
    let expected = [(Component::Handshake, 50.4), (Component::RoundTrips, 50.2), (Component::Other, 0.6)];
    check_with_server(&plain(), None, &expected);
}

#[test]
fn a_tls_handshake_is_its_round_trips_and_computations_unless_a_segment_was_lost_or_queued() {
    let encrypted = |tls_ms: f64, tls_round_trips: u32| Timings {
        tls_ms: Some(tls_ms),
        tls_round_trips: Some(tls_round_trips),
        latency_ms: plain().latency_ms + tls_ms,
        ..plain()
    };
    let rest = [(Component::Handshake, 50.4), (Component::RoundTrips, 50.2), (Component::Other, 0.6)];
    for timings in [encrypted(52.0, 1), encrypted(103.0, 2)] {
        check_with_server(&timings, None, &[&rest[..], &[(Component::Tls, timings.tls_ms.unwrap())]].concat());
    }
    // A lost ServerHello is sent again after 200 ms; the rest of the operation was not stalled.
    let lost = Timings { server_tcp_retransmits: Some(1), ..encrypted(52.2 + 204.0, 1) };
    let expected = [(Component::Tls, 50.2), (Component::Retransmission, 206.0)];
    check_with_server(&lost, None, &[&rest[..], &expected].concat());
    // The response was lost, not a segment of the TLS handshake.
    let lost = longer(Timings { server_tcp_retransmits: Some(1), ..encrypted(52.0, 1) }, 205.0);
    let expected = [
        (Component::Handshake, 50.4),
        (Component::Tls, 52.0),
        (Component::RoundTrips, 50.2),
        (Component::Retransmission, 205.3),
        (Component::Other, 0.3),
    ];
    check_with_server(&lost, None, &expected);
    // 40 ms in the queue of a rate-limited link.
    let queued =
        Components::of(&encrypted(90.2, 1), LinkParameters { rate_kbit: Some(1000.0), base_rtt_ms: Some(50.2) });
    assert!((queued.get(Component::Tls) - 50.2).abs() < 1e-6, "{queued:?}");
    assert_eq!(queued.get(Component::Retransmission), 0.0);
}

#[test]
fn a_persistent_connection_has_no_handshake_and_an_open_loop_has_queue_wait() {
    let persistent = Timings { connect_ms: None, latency_ms: 53.8 + 7.0, wait_ms: 7.0, ..plain() };
    let expected = [
        (Component::Queueing, 7.5),
        (Component::RoundTrips, 50.2),
        (Component::Server, 1.5),
        (Component::Database, 1.0),
        (Component::Other, 0.6),
    ];
    check(&persistent, None, &expected);
}

#[test]
fn a_lost_response_is_a_retransmission_stall() {
    let lost = longer(Timings { server_tcp_retransmits: Some(1), ..plain() }, 205.0);
    let expected = [
        (Component::Handshake, 50.4),
        (Component::RoundTrips, 50.2),
        (Component::Retransmission, 205.3),
        (Component::Other, 0.3),
    ];
    check_with_server(&lost, None, &expected);
    // Without the server's count the cause is unknown.
    let unknown = Timings { server_tcp_retransmits: None, ..lost };
    let expected = [(Component::Handshake, 50.4), (Component::RoundTrips, 50.2), (Component::Other, 205.6)];
    check_with_server(&unknown, None, &expected);
}

/// [`plain`] after a lost SYN-ACK, with these retransmissions by the client and by the server.
fn after_lost_syn_ack(client: u32, server: u32) -> Timings {
    Timings {
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
    let expected = [
        (Component::Handshake, 50.2),
        (Component::Retransmission, 1000.8),
        (Component::RoundTrips, 50.2),
        (Component::Other, 0.6),
    ];
    check_with_server(&lost, None, &expected);
    // The response was lost as well: the stall is longer than the SYN accounts for.
    let both = longer(lost, 230.0);
    let expected = [
        (Component::Handshake, 50.2),
        (Component::Retransmission, 1231.1),
        (Component::RoundTrips, 50.2),
        (Component::Other, 0.3),
    ];
    check_with_server(&both, None, &expected);
}

#[test]
fn a_syn_ack_that_only_the_server_retransmitted_stalls_the_handshake() {
    let lost = after_lost_syn_ack(0, 1);
    let expected = [
        (Component::Handshake, 50.2),
        (Component::Retransmission, 1000.8),
        (Component::RoundTrips, 50.2),
        (Component::Other, 0.6),
    ];
    check_with_server(&lost, None, &expected);
    // The client retransmitted no SYN, so the server's second retransmission is the response, here by a tail loss
    // probe.
    let both = longer(after_lost_syn_ack(0, 2), 110.0);
    let expected = [
        (Component::Handshake, 50.2),
        (Component::Retransmission, 1111.1),
        (Component::RoundTrips, 50.2),
        (Component::Other, 0.3),
    ];
    check_with_server(&both, None, &expected);
    // The client's count is unknown: the second may be the response to a retransmitted SYN.
    let unknown = Timings { tcp_retransmits: None, ..both };
    let expected = [
        (Component::Handshake, 50.2),
        (Component::Retransmission, 1000.8),
        (Component::RoundTrips, 50.2),
        (Component::Other, 110.6),
    ];
    check_with_server(&unknown, None, &expected);
}

#[test]
fn a_lost_syn_ack_that_neither_side_counts_stalls_the_handshake_unless_it_may_have_been_queued() {
    let uncounted = after_lost_syn_ack(0, 0);
    let expected = [
        (Component::Handshake, 50.2),
        (Component::Retransmission, 1000.8),
        (Component::RoundTrips, 50.2),
        (Component::Other, 0.6),
    ];
    check_with_server(&uncounted, None, &expected);
    let expected = [
        (Component::Handshake, 50.2),
        (Component::Transmission, 1000.8 + 0.3),
        (Component::RoundTrips, 50.2),
        (Component::Other, 0.3),
    ];
    check_with_server(&uncounted, Some(1000.0), &expected);
}

#[test]
fn a_long_handshake_without_retransmissions_is_no_stall() {
    // Delay of 1.2 s: the round trip is long, nothing was lost.
    let far = Timings {
        connect_ms: Some(1200.0),
        rtt_ms: Some(1203.0),
        latency_ms: 2403.5,
        tcp_min_rtt_ms: Some(1200.0),
        ..plain()
    };
    let expected = [(Component::Handshake, 1200.0), (Component::RoundTrips, 1200.0), (Component::Other, 0.5)];
    check_with_server(&far, None, &expected);
}

#[test]
fn a_rate_limit_is_transmission_with_its_queue() {
    // 100 kbit/s: 1200 + 52 bytes take 100.16 ms, after 400 ms in the queue; the SYN-ACK spent 30 ms in the queue.
    let slow = longer(Timings { connect_ms: Some(80.2), latency_ms: 134.0, ..plain() }, 500.16);
    let expected = [
        (Component::Handshake, 50.2),
        (Component::RoundTrips, 50.2),
        (Component::Transmission, 30.0 + 500.46),
        (Component::Other, 0.3),
    ];
    check_with_server(&slow, Some(100.0), &expected);
    // One retransmitted segment, and the kernel measured 150 ms of queueing: the rest is a stall.
    let retransmitted = Timings { server_tcp_retransmits: Some(1), server_tcp_rtt_ms: Some(200.2), ..slow };
    let expected = [
        (Component::Handshake, 50.2),
        (Component::RoundTrips, 50.2),
        (Component::Transmission, 30.0 + 100.16 + 150.0),
        (Component::Retransmission, 250.3),
        (Component::Other, 0.3),
    ];
    check_with_server(&retransmitted, Some(100.0), &expected);
}

#[test]
fn a_syn_ack_queued_longer_than_its_timeout_is_a_stall_and_transmission() {
    let queued = Timings { connect_ms: Some(1450.2), latency_ms: 1504.0, tcp_retransmits: Some(1), ..plain() };
    let expected = [
        (Component::Handshake, 50.2),
        (Component::Retransmission, 1000.0),
        (Component::Transmission, 400.0 + 0.3),
        (Component::RoundTrips, 50.2),
        (Component::Other, 0.3),
    ];
    check_with_server(&queued, Some(1000.0), &expected);
}

#[test]
fn behind_a_rate_limit_the_minimum_rtt_of_the_cell_is_the_links() {
    // All packets of this connection queued for 45 ms.
    let queued = Timings { connect_ms: Some(95.2), tcp_min_rtt_ms: Some(95.2), latency_ms: 149.0, ..plain() };
    let link = LinkParameters::new(Some(500.0), Some(50.2));
    let components = Components::of(&queued, link);
    assert!(
        (components.get(Component::Handshake) - 50.2).abs() < 1e-6
            && (components.get(Component::Transmission) - 45.3).abs() < 1e-6
    );
    // Without a rate limit each connection uses its own minimum: with jitter, the minimum over all would be too short.
    assert_eq!(LinkParameters::new(None, Some(50.2)), LinkParameters::default());
}

#[test]
fn the_round_trip_since_a_lost_syn_is_not_queueing() {
    // Linux counts the time since the first SYN as the first round trip.
    let lost = Timings {
        connect_ms: Some(1050.2),
        latency_ms: 1050.2 + 53.8,
        tcp_rtt_ms: Some(926.0),
        tcp_retransmits: Some(1),
        server_tcp_retransmits: Some(3),
        ..plain()
    };
    let lost = longer(lost, 205.0);
    let expected = [
        (Component::Handshake, 50.2),
        (Component::RoundTrips, 50.2),
        (Component::Transmission, 1252.0 * 8.0 / 2000.0),
        (Component::Retransmission, 1205.3 - 1252.0 * 8.0 / 2000.0),
        (Component::Other, 0.3),
    ];
    check_with_server(&lost, Some(2000.0), &expected);
}

#[test]
fn a_long_response_takes_further_round_trips() {
    // 40 kB: windows of 14480 and 28960 bytes, so one further flight.
    let long = longer(Timings { response_bytes: Some(40_000), ..plain() }, 50.2);
    let expected = [(Component::Handshake, 50.4), (Component::RoundTrips, 100.4), (Component::Other, 0.6)];
    check_with_server(&long, None, &expected);
    // 50 kB: three flights.
    let longer_still = longer(Timings { response_bytes: Some(50_000), ..plain() }, 105.0);
    let expected = [(Component::Handshake, 50.4), (Component::RoundTrips, 150.6), (Component::Other, 5.2)];
    check_with_server(&longer_still, None, &expected);
    // At 1 Mbit/s ten segments take 120 ms, and the window opens before they are sent.
    let expected = [
        (Component::Handshake, 50.2),
        (Component::Transmission, 105.5),
        (Component::RoundTrips, 50.2),
        (Component::Other, 0.3),
    ];
    check_with_server(&longer_still, Some(1000.0), &expected);
}

#[test]
fn without_an_rtt_the_time_on_the_network_is_other() {
    let unknown = Timings { tcp_min_rtt_ms: None, tcp_rtt_ms: None, ..plain() };
    check_with_server(&unknown, None, &[(Component::Handshake, 50.4), (Component::Other, 50.8)]);
    let smoothed = Timings { tcp_min_rtt_ms: None, ..plain() };
    let expected = [(Component::Handshake, 50.4), (Component::RoundTrips, 50.3), (Component::Other, 0.5)];
    check_with_server(&smoothed, None, &expected);
}

#[test]
fn a_failed_operation_stalled_if_segments_were_retransmitted() {
    let timeout = Timings {
        latency_ms: 5000.0,
        connect_ms: Some(50.4),
        tcp_min_rtt_ms: Some(50.2),
        tcp_retransmits: Some(4),
        ..Timings::default()
    };
    check(&timeout, None, &[(Component::Handshake, 50.4), (Component::Retransmission, 4949.6)]);
    let not_retransmitted = Timings { tcp_retransmits: Some(0), ..timeout };
    check(&not_retransmitted, None, &[(Component::Handshake, 50.4), (Component::Other, 4949.6)]);
    check(&Timings { latency_ms: 0.2, ..Timings::default() }, None, &[(Component::Other, 0.2)]);
}

fn duration() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), 0.0..1.0f64, 0.0..3000.0f64]
}

fn maybe_invalid() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        3 => duration().prop_map(Some),
        1 => Just(None),
        1 => prop_oneof![Just(-5.0), Just(f64::NAN), Just(f64::INFINITY)].prop_map(Some),
    ]
}

prop_compose! {
    fn any_timings()(
        (latency_ms, wait_ms) in (duration(), duration()),
        (tls_ms, tls_round_trips) in (maybe_invalid(), prop::option::of(0..3u32)),
        [connect_ms, rtt_ms, server_ms, server_queue_ms, server_database_ms] in
            [maybe_invalid(), maybe_invalid(), maybe_invalid(), maybe_invalid(), maybe_invalid()],
        [tcp_rtt_ms, tcp_min_rtt_ms, server_tcp_rtt_ms] in [maybe_invalid(), maybe_invalid(), maybe_invalid()],
        (tcp_retransmits, server_tcp_retransmits) in (prop::option::of(0..9u32), prop::option::of(0..9u32)),
        response_bytes in prop::option::of(0..20_000_000u64),
    ) -> Timings {
        Timings {
            latency_ms, wait_ms, connect_ms, tls_ms, tls_round_trips, rtt_ms, server_ms, server_queue_ms, server_database_ms, tcp_rtt_ms, tcp_min_rtt_ms,
            server_tcp_rtt_ms, tcp_retransmits, server_tcp_retransmits, response_bytes,
            ..Timings::default()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn the_components_of_any_operation_add_up_and_none_is_negative(
        timings in any_timings(), rate_kbit in maybe_invalid(), base_rtt_ms in maybe_invalid(),
    ) {
        let components = Components::of(&timings, LinkParameters { rate_kbit, base_rtt_ms });
        for component in Component::ALL {
            prop_assert!(components.get(component) >= 0.0, "{component:?} of {components:?}");
        }
        prop_assert!((components.total() - timings.latency_ms).abs() < 1e-6, "{} in {components:?}", timings.latency_ms);
    }
}
