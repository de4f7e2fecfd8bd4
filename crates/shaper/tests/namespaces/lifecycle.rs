//! What is left behind when a shaper ends, in whatever way.

use nix::sys::signal::Signal;
use shaper::control_protocol::RoutingState;
use test_support::{Test, test};

use crate::fixture::{FAR, Fixture, fixture, ip};
use crate::traffic::{EARLY_MS, numbers_received, round_trips_ms, udp_echo};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test!(every_orderly_end_restores_everything),
        test!(the_end_of_standard_input_ends_it_when_asked),
        test!(packets_in_the_link_survive_its_end),
        test!(after_a_kill_a_new_start_leaves_nothing_double_and_nothing_behind),
        test!(after_a_kill_a_start_under_the_baseline_cleans_up_too),
        test!(strict_reverse_path_filtering_is_loosened_and_comes_back),
        test!(a_deleted_tun_device_ends_it_with_a_reason_and_a_bare_link),
    ]
}

fn every_orderly_end_restores_everything() {
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

fn the_end_of_standard_input_ends_it_when_asked() {
    let Some(fixture) = fixture() else { return };
    let before = fixture.routing();
    let mut shaper = fixture.start("--delay 50ms --exit-on-stdin-eof");
    shaper.close_stdin();
    assert_eq!(shaper.wait(), (Some(0), String::new()));
    assert_eq!(fixture.routing(), before);
}

fn packets_in_the_link_survive_its_end() {
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

fn after_a_kill_a_new_start_leaves_nothing_double_and_nothing_behind() {
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

fn after_a_kill_a_start_under_the_baseline_cleans_up_too() {
    let Some(fixture) = fixture() else { return };
    let mut killed = fixture.start("--delay 50ms");
    killed.signal(Signal::SIGKILL);
    killed.wait();
    let _shaper = fixture.start("");
    assert_eq!(fixture.status("show").routing.state, RoutingState::Inactive);
}

fn strict_reverse_path_filtering_is_loosened_and_comes_back() {
    let Some(fixture) = fixture() else { return };
    Fixture::inside(&fixture.near, || {
        std::fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "0").unwrap();
        std::fs::write("/proc/sys/net/ipv4/conf/eth0/rp_filter", "1").unwrap();
    });
    let before = fixture.routing();
    let echo = udp_echo(&fixture, FAR);
    let shaper = fixture.start("--delay 5ms");
    assert!(round_trips_ms(&fixture, echo, 64, 3)[0] >= 5.0 - EARLY_MS);
    shaper.stop();
    assert_eq!(fixture.routing(), before);
}

fn a_deleted_tun_device_ends_it_with_a_reason_and_a_bare_link() {
    let Some(fixture) = fixture() else { return };
    let before = fixture.routing();
    let mut shaper = fixture.start("--delay 50ms");
    ip(&format!("-n {} link del shaper0", fixture.near));
    let (code, complaint) = shaper.wait();
    assert_eq!(code, Some(1));
    assert!(complaint.contains("was the TUN device deleted?"), "{complaint}");
    assert_eq!(fixture.routing(), before);
    assert_eq!(numbers_received(&fixture, 10).len(), 10);
}
