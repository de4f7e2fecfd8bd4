//! Behaviour of the shaper at the limits of the host: errors, full queues, memory, a single CPU.

use nix::sys::signal::Signal;
use shaper::Counters;
use shaper::control_protocol::ThreadScheduling;
use test_support::{Test, test};

use crate::fixture::{FAR, Fixture, NEAR, first_cpu, fixture, ip, on_cpu};
use crate::gso::GsoPacket;
use crate::traffic::{Numbered, transfer_to};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test!(an_accept_that_fails_does_not_end_the_shaper),
        test!(packets_in_the_tun_queue_are_sent_when_the_shaper_stops),
        test!(each_packet_of_a_segmented_gso_packet_is_counted_by_its_outcome),
        test!(gso_packets_leave_whole_on_the_link_and_by_a_gateway),
        test!(memory_for_packets_is_bounded_and_packets_above_it_are_counted),
    ]
}

/// Returns the tests that keep a CPU busy.
pub(crate) fn saturating_tests() -> Vec<Test> {
    vec![test!(a_saturated_shaper_lets_commands_run_on_its_only_cpu)]
}

/// Polls the counters until `done` accepts them, 1000 times at most.
fn counters_when(fixture: &Fixture, mut done: impl FnMut(&Counters) -> bool) -> Counters {
    let mut last = Counters::default();
    let reached = (0..1_000).any(|_| {
        last = fixture.status("show").counters;
        done(&last)
    });
    assert!(reached, "{last:?}");
    last
}

fn an_accept_that_fails_does_not_end_the_shaper() {
    let Some(fixture) = fixture() else { return };
    let mut shaper = fixture.start("--delay 50ms");
    let previous = shaper.limit_open_files(3);
    std::thread::scope(|scope| {
        let show = scope.spawn(|| fixture.status("show"));
        let line = shaper.stderr_line();
        assert!(line.contains("cannot accept a command: Too many open files"), "{line}");
        shaper.limit_open_files(previous);
        assert_eq!(show.join().unwrap().pid, shaper.pid());
    });
    shaper.stop();
}

fn packets_in_the_tun_queue_are_sent_when_the_shaper_stops() {
    let Some(fixture) = fixture() else { return };
    let numbered = Numbered::open(&fixture);
    // Three times: a fast forwarder may read the whole queue before the stop command arrives.
    for _ in 0..3 {
        let mut shaper = fixture.start("--queue-limit 100000");
        shaper.signal(Signal::SIGSTOP);
        numbered.send(0..4_000);
        shaper.signal(Signal::SIGTERM);
        shaper.signal(Signal::SIGCONT);
        assert_eq!(shaper.wait(), (Some(0), String::new()));
        assert_eq!(numbered.receive(4_000).len(), 4_000);
    }
}

fn each_packet_of_a_segmented_gso_packet_is_counted_by_its_outcome() {
    let Some(fixture) = fixture() else { return };
    let _shaper = fixture.start("--delay 1ms");
    // Full segments are 20 bytes longer than the MTU of the device, the last one is not.
    GsoPacket { source: NEAR, destination: FAR, segment_bytes: 1_480, payload_bytes: 3 * 1_480 + 100 }.send(&fixture);
    let counters = counters_when(&fixture, |counters| counters.packets > 0 && counters.queued == 0);
    assert_eq!((counters.packets, counters.sent, counters.send_errors), (4, 1, 3));
}

fn gso_packets_leave_whole_on_the_link_and_by_a_gateway() {
    let Some(fixture) = fixture() else { return };
    let behind = [10, 99, 0, 1].into();
    ip(&format!("-n {} addr add {behind}/32 dev lo", fixture.far));
    for address in [FAR, behind] {
        let _shaper = fixture.start("--delay 5ms");
        let before = fixture.packets_sent();
        transfer_to(&fixture, address, 40_000_000, || ());
        let (wire, device) = (fixture.status("show").counters.sent, fixture.packets_sent() - before);
        assert!(device < wire / 2, "{address}: {wire} wire packets were sent as {device}");
    }
}

fn a_saturated_shaper_lets_commands_run_on_its_only_cpu() {
    let Some(fixture) = fixture() else { return };
    let shaper = fixture.start("--queue-limit 1000000");
    if fixture.status("show").scheduling == ThreadScheduling::Normal {
        return; // Normal threads share a CPU in any case.
    }
    let cpu = first_cpu();
    shaper.pin(cpu);
    // A full TUN queue saturates the forwarder independently of the host's speed.
    shaper.signal(Signal::SIGSTOP);
    Numbered::open(&fixture).send(0..4_500);
    let before = shaper.forwarder_times();
    shaper.signal(Signal::SIGCONT);
    on_cpu(cpu, || counters_when(&fixture, |counters| counters.packets >= 4_500));
    let after = shaper.forwarder_times();
    // Relative to its own CPU time: independent of the load of the host.
    let (worked, slept) = (after.cpu - before.cpu, after.sleeps - before.sleeps);
    assert!(u128::from(slept) >= worked.as_millis() / 8, "{slept} sleeps in {worked:?} of CPU time");
}

fn memory_for_packets_is_bounded_and_packets_above_it_are_counted() {
    let Some(fixture) = fixture() else { return };
    let _shaper = fixture.start("--delay 3600s --memory-limit-mib 1");
    let numbered = Numbered::open(&fixture);
    let counters = counters_when(&fixture, |counters| {
        numbered.send(0..1_000);
        counters.dropped_memory > 0
    });
    let Counters { packets, queued, dropped_memory, .. } = counters;
    // 1 MiB holds 6000 packets of 32 bytes, overhead included.
    assert!((1_000..10_000).contains(&queued), "{queued} packets are in the link");
    assert_eq!(packets, queued + dropped_memory);
    let status = fixture.status("show");
    assert_eq!(status.memory_limit_bytes, 1 << 20);
    assert!(status.memory_used_bytes <= 1 << 20, "{} bytes", status.memory_used_bytes);
}
