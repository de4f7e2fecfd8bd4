//! State that a shaper leaves when it ends, gracefully or not.

use nix::sys::signal::Signal;
use shaper::control_protocol::RoutingState;
use test_support::{Test, test};

use crate::fixture::{FAR, Fixture, fixture, ip};
use crate::traffic::{MAX_EARLINESS_MS, numbers_received, round_trips_ms, udp_echo};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test!(every_graceful_shutdown_restores_everything),
        test!(the_end_of_stdin_ends_the_shaper_if_requested),
        test!(packets_in_the_link_are_sent_when_the_shaper_stops),
        test!(a_shaper_started_after_a_kill_replaces_and_removes_stale_rules),
        test!(a_shaper_started_with_the_baseline_after_a_kill_removes_stale_rules),
        test!(strict_reverse_path_filtering_is_made_loose_and_restored),
        test!(a_deleted_tun_device_ends_the_shaper_with_an_error_and_an_unshaped_link),
    ]
}

fn every_graceful_shutdown_restores_everything() {
    let Some(fixture) = fixture() else { return };
    let before = fixture.routing();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut shaper = fixture.start("--delay 50ms --loss 1%");
        assert_ne!(fixture.routing(), before);
        shaper.signal(signal);
        assert_eq!(shaper.wait(), (Some(0), String::new()), "{signal}");
        assert_eq!(fixture.routing(), before, "{signal}");
    }
}

fn the_end_of_stdin_ends_the_shaper_if_requested() {
    let Some(fixture) = fixture() else { return };
    let before = fixture.routing();
    let mut shaper = fixture.start("--delay 50ms --exit-on-stdin-eof");
    shaper.close_stdin();
    assert_eq!(shaper.wait(), (Some(0), String::new()));
    assert_eq!(fixture.routing(), before);
}

fn packets_in_the_link_are_sent_when_the_shaper_stops() {
    let Some(fixture) = fixture() else { return };
    let echo = udp_echo(&fixture, FAR);
    let shaper = fixture.start("--delay 30s");
    let waiting = std::thread::scope(|scope| {
        let trip = scope.spawn(|| round_trips_ms(&fixture, echo, 64, 1));
        let queued = (0..1_000).any(|_| fixture.status("show").counters.queued == 1);
        assert!(queued, "the datagram never entered the link");
        shaper.stop();
        trip.join().unwrap()
    });
    assert!(waiting[0] < 10_000.0, "{waiting:?}");
}

fn a_shaper_started_after_a_kill_replaces_and_removes_stale_rules() {
    let Some(fixture) = fixture() else { return };
    let before = fixture.routing();
    let first = fixture.start("--delay 50ms");
    let installed = ip(&format!("-n {} rule show", fixture.near));
    let mut killed = first;
    killed.signal(Signal::SIGKILL);
    assert_eq!(killed.wait().0, None);

    let second = fixture.start("--delay 50ms");
    assert_eq!(ip(&format!("-n {} rule show", fixture.near)), installed);
    assert_eq!(fixture.status("show").routing.state, RoutingState::Active);
    second.stop();
    assert_eq!(fixture.routing(), before);
}

fn a_shaper_started_with_the_baseline_after_a_kill_removes_stale_rules() {
    let Some(fixture) = fixture() else { return };
    let mut killed = fixture.start("--delay 50ms");
    killed.signal(Signal::SIGKILL);
    killed.wait();
    let _shaper = fixture.start("");
    assert_eq!(fixture.status("show").routing.state, RoutingState::Inactive);
}

fn strict_reverse_path_filtering_is_made_loose_and_restored() {
    let Some(fixture) = fixture() else { return };
    Fixture::inside(&fixture.near, || {
        std::fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "0").unwrap();
        std::fs::write("/proc/sys/net/ipv4/conf/eth0/rp_filter", "1").unwrap();
    });
    let before = fixture.routing();
    let echo = udp_echo(&fixture, FAR);
    let shaper = fixture.start("--delay 5ms");
    assert!(round_trips_ms(&fixture, echo, 64, 3)[0] >= 5.0 - MAX_EARLINESS_MS);
    shaper.stop();
    assert_eq!(fixture.routing(), before);
}

fn a_deleted_tun_device_ends_the_shaper_with_an_error_and_an_unshaped_link() {
    let Some(fixture) = fixture() else { return };
    let before = fixture.routing();
    let mut shaper = fixture.start("--delay 50ms");
    ip(&format!("-n {} link del shaper0", fixture.near));
    let (code, stderr) = shaper.wait();
    assert_eq!(code, Some(1));
    assert!(stderr.contains("was the TUN device deleted?"), "{stderr}");
    assert_eq!(fixture.routing(), before);
    assert_eq!(numbers_received(&fixture, 10).len(), 10);
}
