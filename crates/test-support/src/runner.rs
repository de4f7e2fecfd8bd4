//! Runs the listed tests with the arguments and the output of Rust's own harness.

use std::env::{VarError, var};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::{HostLock, Requirement};

const REQUIRE_ALL: &str = "TESTBED_REQUIRE_ALL";
const THREADS: &str = "RUST_TEST_THREADS";

/// A test and its requirements. Created by [`test!`](crate::test!).
pub struct Test {
    name: String,
    body: fn(),
    needs: Vec<Requirement>,
    lock: Option<fn() -> std::io::Result<HostLock>>,
    on_request: Option<&'static str>,
}

impl Test {
    /// Creates a test without requirements. It passes unless `body` panics.
    pub fn new(name: &str, body: fn()) -> Self {
        Self { name: name.replace(' ', ""), body, needs: Vec::new(), lock: None, on_request: None }
    }

    /// Adds requirements, checked in order before each run.
    #[must_use]
    pub fn needs(mut self, requirements: &[Requirement]) -> Self {
        self.needs.extend(requirements);
        self
    }

    /// Locks the host exclusively: for tests that measure.
    #[must_use]
    pub fn exclusive(self) -> Self {
        Self { lock: Some(HostLock::exclusive), ..self }
    }

    /// Locks the host together with other such tests: for tests whose load would disturb those that measure.
    #[must_use]
    pub fn shared(self) -> Self {
        Self { lock: Some(HostLock::shared), ..self }
    }

    /// Runs the test only with `--ignored` or `--include-ignored`. Otherwise it is ignored with this reason, also with
    /// `TESTBED_REQUIRE_ALL=1`.
    #[must_use]
    pub fn on_request(self, reason: &'static str) -> Self {
        Self { on_request: Some(reason), ..self }
    }

    fn unmet(&self) -> Option<String> {
        self.needs.iter().find_map(|requirement| requirement().err())
    }

    fn run(self, fails_unmet: bool) -> Result<Completion, Failed> {
        match self.unmet() {
            Some(reason) if fails_unmet => Err(format!("the test was required to run, but {reason}").into()),
            Some(reason) => Ok(Completion::ignored_with(reason)),
            None => {
                let _held = self.lock.map(|lock| lock()).transpose()?;
                (self.body)();
                Ok(Completion::Completed)
            }
        }
    }

    fn into_trial(self, arguments: &Arguments, settings: Settings) -> Trial {
        // The ignored flag alone has no reason, so it is set only where it selects tests.
        let selects = arguments.list || arguments.ignored;
        let is_ignored = selects && (self.on_request.is_some() || (!settings.requires_all && self.unmet().is_some()));
        let not_requested = self.on_request.filter(|_| !arguments.ignored && !arguments.include_ignored);
        // Ignored tests that are run explicitly must not be skipped. For cargo-nextest, exit code 0 is a pass: a test that it
        // did not skip by the list must not end as ignored.
        let fails_unmet = settings.requires_all || settings.is_nextest || arguments.ignored;
        Trial::ignorable_test(self.name.clone(), move || match not_requested {
            Some(reason) => Ok(Completion::ignored_with(reason)),
            None => self.run(fails_unmet),
        })
        .with_ignored_flag(is_ignored)
    }
}

/// Runs the tests that the command line selects, `threads` in parallel unless `--test-threads` or `RUST_TEST_THREADS` is given.
/// Reports them as Rust's own harness does.
///
/// Returns the exit code for `main`: 101 when a test failed, 2 when an environment variable is invalid.
pub fn run(threads: usize, tests: impl IntoIterator<Item = Test>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    match Settings::from_environment() {
        Ok(settings) => {
            arguments.test_threads = arguments.test_threads.or(settings.threads).or(Some(threads));
            let trials = tests.into_iter().map(|test| test.into_trial(&arguments, settings)).collect();
            libtest_mimic::run(&arguments, trials).exit_code()
        }
        Err(problem) => {
            #[allow(clippy::print_stderr, reason = "a program's main reports here")]
            {
                eprintln!("error: {problem}");
            }
            ExitCode::from(2)
        }
    }
}

/// Settings from environment variables.
#[derive(Clone, Copy)]
struct Settings {
    /// Tests with unmet requirements fail.
    requires_all: bool,
    /// cargo-nextest runs each test in a separate process.
    is_nextest: bool,
    threads: Option<usize>,
}

impl Settings {
    fn from_environment() -> Result<Self, String> {
        let requires_all = match var(REQUIRE_ALL).as_deref() {
            Err(VarError::NotPresent) => false,
            Ok("1") => true,
            other => return Err(format!("invalid {REQUIRE_ALL} {other:?}: must be 1 or absent")),
        };
        let threads = match var(THREADS) {
            Err(VarError::NotPresent) => None,
            text => {
                let number = text.as_deref().ok().and_then(|text| text.parse().ok()).filter(|number| *number > 0);
                Some(number.ok_or_else(|| format!("invalid {THREADS} {text:?}: must be a number above 0"))?)
            }
        };
        Ok(Self { requires_all, is_nextest: var("NEXTEST").is_ok(), threads })
    }
}
