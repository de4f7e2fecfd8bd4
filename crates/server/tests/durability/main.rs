//! What the server acknowledged stays, whatever happens to its process and its disk.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "tests report what they counted")]

mod faulty_disk;
mod kill;
mod log_size;
mod power_loss;
#[allow(dead_code, reason = "shared with the suite, which uses all of it")]
#[path = "../suite/support.rs"]
mod support;

use std::process::ExitCode;

use test_support::{run, test};

fn main() -> ExitCode {
    if power_loss::run_as_guest() {
        return ExitCode::SUCCESS;
    }
    let boots = "boots User-mode Linux";
    let rounds = "a hundred rounds, or TESTBED_KILL_ROUNDS: two minutes";
    run(
        2,
        [
            test!(kill::every_acknowledged_order_survives_five_kills),
            test!(kill::every_acknowledged_order_survives_many_kills).on_request(rounds),
            test!(log_size::the_log_stays_bounded),
            test!(faulty_disk::a_full_disk_is_reported_and_recovers_without_a_loss).needs(&[faulty_disk::own_mounts]),
            test!(power_loss::no_acknowledged_order_is_lost_with_durability_full)
                .needs(&[power_loss::user_mode_linux])
                .on_request(boots),
            test!(power_loss::orders_are_lost_with_durability_normal_and_the_rest_is_consistent)
                .needs(&[power_loss::user_mode_linux])
                .on_request(boots),
            test!(faulty_disk::failing_writes_are_reported_and_recover_without_a_loss)
                .needs(&[faulty_disk::own_mounts]),
        ],
    )
}
