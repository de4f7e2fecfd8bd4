//! Output and exit codes of the commands.

use std::process::Output;

use model::Condition;
use shaper::Counters;
use shaper::control_protocol::RoutingState;
use test_support::{Test, test};

use crate::fixture::{fixture, ip};
use crate::traffic::numbers_received;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test!(without_a_shaper_the_commands_suggest_starting_one),
        test!(invalid_arguments_and_devices_have_different_exit_codes),
        test!(a_second_shaper_is_rejected_and_the_first_keeps_running),
        test!(a_set_replaces_the_whole_condition_and_restarts_the_counters),
        test!(show_reports_changes_by_other_programs_and_set_repairs_them),
        test!(show_reports_rules_and_routes_by_which_packets_bypass_the_shaper),
        test!(a_rule_that_matches_fewer_packets_does_not_replace_the_shapers_own),
    ]
}

fn assert_fails(output: &Output, code: i32, reason: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(reason), "'{reason}' expected in: {stderr}");
}

fn without_a_shaper_the_commands_suggest_starting_one() {
    let Some(fixture) = fixture() else { return };
    for command in ["show", "clear", "set --delay 1ms"] {
        assert_fails(
            &fixture.command(command),
            1,
            "no shaper is running in this network namespace: start one with 'shaper run",
        );
    }
}

fn invalid_arguments_and_devices_have_different_exit_codes() {
    let Some(fixture) = fixture() else { return };
    assert_fails(&fixture.command("set --delay soon"), 2, "invalid delay 'soon': expected a number with");
    assert_fails(&fixture.command("run --jitter 1ms"), 2, "invalid jitter '1ms': must not exceed the delay '0'");
    assert_fails(&fixture.command("run --device eth7"), 1, "device 'eth7' not found; available: lo, eth0");
}

fn a_second_shaper_is_rejected_and_the_first_keeps_running() {
    let Some(fixture) = fixture() else { return };
    let _first = fixture.start("--delay 50ms");
    assert_fails(&fixture.command("run"), 1, "a shaper is already running in this network namespace");
    assert_eq!(fixture.status("show").routing.state, RoutingState::Active);
}

fn a_set_replaces_the_whole_condition_and_restarts_the_counters() {
    let Some(fixture) = fixture() else { return };
    let _shaper = fixture.start("--loss 1% --seed 1");
    numbers_received(&fixture, 100);
    assert_eq!(fixture.status("show").counters.packets, 100);

    let requested = Condition { delay: "50ms".parse().unwrap(), ..Condition::BASELINE };
    let status = fixture.status("set --delay 50ms --seed 7");
    assert!(status.has_active(&requested), "{status:?}");
    assert_eq!((status.seed, status.counters), (7, Counters::default()));

    let status = fixture.status("clear");
    assert!(status.has_active(&Condition::BASELINE), "{status:?}");
}

fn show_reports_changes_by_other_programs_and_set_repairs_them() {
    let Some(fixture) = fixture() else { return };
    let near = &fixture.near;
    let _shaper = fixture.start("--delay 50ms");
    for (damage, missing) in [
        ("rule del priority 101".to_owned(), "rule for this node's packets (priority 101)"),
        ("rule del priority 100".to_owned(), "rule for the shaper's own packets (priority 100)"),
        ("route del default table 21320".to_owned(), "route to 0.0.0.0/0"),
        ("link set shaper0 down".to_owned(), "device shaper0 is not up"),
    ] {
        ip(&format!("-n {near} {damage}"));
        let status = fixture.status("show");
        assert_eq!(status.routing.state, RoutingState::Broken, "{damage}");
        assert!(status.routing.missing.iter().any(|part| part == missing), "{damage}: {:?}", status.routing.missing);
        assert!(!status.has_active(&status.condition));

        let repaired = fixture.status("set --delay 50ms");
        assert!(repaired.has_active(&repaired.condition), "{damage}: {repaired:?}");
    }
}

fn show_reports_rules_and_routes_by_which_packets_bypass_the_shaper() {
    let Some(fixture) = fixture() else { return };
    let near = &fixture.near;
    let _shaper = fixture.start("--delay 50ms");
    for (what, extra, surplus) in [
        ("rule", "priority 50 to 10.77.0.2 lookup main", "rule to table 254 (priority 50)"),
        ("rule", "priority 101 to 10.77.0.2 lookup main", "rule to table 254 (priority 101)"),
        ("rule", "priority 99 to 10.77.0.2 blackhole", "rule with action Blackhole (priority 99)"),
        ("rule", "priority 200 lookup 7", "rule to table 7 (priority 200)"),
        ("route", "10.77.0.2 dev eth0 table 21320", "route to 10.77.0.2/32 in table 21320"),
        ("route", "throw 10.77.0.2 table 21320", "route to 10.77.0.2/32 in table 21320"),
    ] {
        ip(&format!("-n {near} {what} add {extra}"));
        let status = fixture.status("show");
        assert_eq!(status.routing.state, RoutingState::Broken, "{extra}");
        assert_eq!((status.routing.surplus, status.routing.missing), (vec![surplus.to_owned()], Vec::new()), "{extra}");

        ip(&format!("-n {near} {what} del {extra}"));
        assert_eq!(fixture.status("show").routing.state, RoutingState::Active, "{extra}");
    }

    // The shaper removes additional routes of its own table.
    ip(&format!("-n {near} route add 10.77.0.2 dev eth0 table 21320"));
    let repaired = fixture.status("set --delay 50ms");
    assert!(repaired.has_active(&repaired.condition), "{repaired:?}");
}

fn a_rule_that_matches_fewer_packets_does_not_replace_the_shapers_own() {
    let Some(fixture) = fixture() else { return };
    let _shaper = fixture.start("--delay 50ms");
    ip(&format!("-n {} rule del priority 101", fixture.near));
    ip(&format!("-n {} rule add priority 101 iif lo ipproto udp lookup 21320", fixture.near));
    let routing = fixture.status("show").routing;
    assert_eq!(
        (routing.state, routing.missing.len(), routing.surplus.len()),
        (RoutingState::Broken, 1, 1),
        "{routing:?}"
    );
}
