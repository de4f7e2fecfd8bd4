//! Harness of tests with requirements on their host: root, network namespaces, Docker, open files.
//!
//! A test binary with `harness = false` lists its tests in `main` and passes them to [`run`]. It accepts the arguments of
//! Rust's own harness, so `cargo test` and `cargo nextest run` both work. A test whose [`Requirement`] is not met is
//! reported as ignored, with the reason; with `TESTBED_REQUIRE_ALL=1` it fails.
//!
//! A test function that is not listed is dead code, which the compiler reports. `#[test]` has no effect in such a
//! binary: the compiler removes the function. A test of this crate rejects it.

mod golden;
mod host_lock;
pub mod requirements;
mod runner;

pub use golden::assert_golden;
pub use host_lock::HostLock;
pub use requirements::Requirement;
pub use runner::{Test, run};

/// Creates a [`Test`] from the path of a function `fn()`; the path is its name.
#[macro_export]
macro_rules! test {
    ($($path:ident)::+) => {
        $crate::Test::new(stringify!($($path)::+), $($path)::+)
    };
}
