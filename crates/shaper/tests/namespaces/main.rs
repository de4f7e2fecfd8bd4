//! Tests of the `shaper` binary in network namespaces.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the link's bench shares the fixture, which prints why it is skipped")]

mod commands;
mod fixture;
mod gso;
mod lifecycle;
mod robustness;
mod shaping;
mod traffic;

use std::process::ExitCode;

use test_support::{Test, requirements};

fn main() -> ExitCode {
    let exclusive = [shaping::measuring_tests(), robustness::saturating_tests()];
    let measuring = exclusive.into_iter().flatten().map(Test::exclusive);
    let others = [shaping::counting_tests(), commands::tests(), lifecycle::tests(), robustness::tests()];
    let tests = measuring.chain(others.into_iter().flatten().map(Test::shared));
    let needs = [requirements::named_namespaces, requirements::tun];
    test_support::run(4, tests.map(|test| test.needs(&needs)))
}
