//! Tests of the harness as `cargo test` and cargo-nextest call it. With `SAMPLE` set, this program is the tested suite.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, ExitCode};

use test_support::{run, test};

fn main() -> ExitCode {
    if std::env::var_os("SAMPLE").is_some() {
        return run(2, sample::tests());
    }
    let tests = [
        test!(a_test_with_an_unmet_requirement_is_reported_as_ignored_with_the_reason),
        test!(a_test_with_an_unmet_requirement_fails_if_all_are_required),
        test!(nextest_skips_tests_with_unmet_requirements_and_never_reports_them_as_passed),
        test!(a_test_on_request_runs_only_with_ignored),
        test!(one_failure_does_not_stop_the_others),
        test!(an_invalid_environment_variable_is_an_error),
        test!(a_binary_with_its_own_harness_has_no_test_attributes),
    ];
    run(2, tests)
}

mod sample {
    use test_support::{Test, test};

    pub(crate) fn tests() -> [Test; 4] {
        let unmet = || Err("needs an unavailable feature".to_owned());
        [
            test!(fails),
            test!(passes).exclusive(),
            test!(unmet_test).needs(&[unmet]),
            test!(requested).on_request("has a separate step"),
        ]
    }

    fn fails() {
        panic!("expected failure");
    }

    fn passes() {}

    fn unmet_test() {
        panic!("test with an unmet requirement ran");
    }

    fn requested() {}
}

/// Runs the sample suite. Returns its exit code and its standard output.
fn sample(arguments: &str, environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    for variable in ["TESTBED_REQUIRE_ALL", "RUST_TEST_THREADS", "NEXTEST"] {
        command.env_remove(variable);
    }
    // A separate lock: the sample does not wait for tests that measure.
    command.env("TMPDIR", env!("CARGO_TARGET_TMPDIR"));
    command.args(arguments.split_whitespace()).env("SAMPLE", "1").envs(environment.iter().copied());
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

const ALL: [(&str, &str); 1] = [("TESTBED_REQUIRE_ALL", "1")];

fn assert_contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "'{part}' is not in:\n{text}");
    }
}

fn a_test_with_an_unmet_requirement_is_reported_as_ignored_with_the_reason() {
    let (code, text) = sample("--skip fails", &[]);
    assert_eq!(code, Some(0), "{text}");
    assert_contains(
        &text,
        &["test unmet_test ... ignored (needs an unavailable feature)", "1 passed; 0 failed; 2 ignored"],
    );
}

fn a_test_with_an_unmet_requirement_fails_if_all_are_required() {
    let (code, text) = sample("--skip fails", &ALL);
    assert_eq!(code, Some(101), "{text}");
    assert_contains(
        &text,
        &["test unmet_test ... FAILED", "but needs an unavailable feature", "1 passed; 1 failed; 1 ignored"],
    );
}

fn nextest_skips_tests_with_unmet_requirements_and_never_reports_them_as_passed() {
    assert_eq!(
        sample("--list --format terse", &[]).1,
        "fails: test\npasses: test\nunmet_test: test\nrequested: test\n"
    );
    assert_eq!(sample("--list --format terse --ignored", &[]).1, "unmet_test: test\nrequested: test\n");
    assert_eq!(sample("--list --format terse --ignored", &ALL).1, "requested: test\n");
    assert_eq!(sample("--exact passes --nocapture", &[("NEXTEST", "1")]).0, Some(0));
    assert_eq!(sample("--exact unmet_test --nocapture --ignored", &[]).0, Some(101));
    assert_eq!(sample("--exact unmet_test --nocapture", &[("NEXTEST", "1")]).0, Some(101));
}

fn a_test_on_request_runs_only_with_ignored() {
    let (code, text) = sample("--exact requested", &ALL);
    assert_eq!(code, Some(0), "{text}");
    assert_contains(&text, &["test requested ... ignored (has a separate step)"]);
    for request in ["--ignored", "--include-ignored"] {
        assert_contains(&sample(&format!("--exact requested {request}"), &ALL).1, &["test requested ... ok"]);
    }
}

fn one_failure_does_not_stop_the_others() {
    for threads in ["--test-threads 1", "--test-threads 3"] {
        let (code, text) = sample(threads, &[]);
        assert_eq!(code, Some(101), "{text}");
        assert_contains(&text, &["expected failure", "1 passed; 1 failed; 2 ignored"]);
    }
}

fn an_invalid_environment_variable_is_an_error() {
    for (name, value) in [("TESTBED_REQUIRE_ALL", "yes"), ("RUST_TEST_THREADS", "0")] {
        let (code, text) = sample("", &[(name, value)]);
        assert_eq!(code, Some(2), "{text}");
        assert_contains(&text, &[&format!("error: invalid {name} Ok(\"{value}\"): must be")]);
    }
}

/// The compiler silently removes `#[test]` functions from such a binary: they would never run.
fn a_binary_with_its_own_harness_has_no_test_attributes() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let crates = std::fs::read_dir(workspace.join("crates")).unwrap().map(|entry| entry.unwrap().path());
    let mut checked_files = 0;
    for package in crates.chain([workspace.join("testbed")]) {
        let manifest = std::fs::read_to_string(package.join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        for target in manifest.get("test").and_then(toml::Value::as_array).into_iter().flatten() {
            if target.get("harness").and_then(toml::Value::as_bool) == Some(false) {
                let name = target["name"].as_str().unwrap();
                let tests = package.join("tests");
                checked_files += reject_test_attributes(&tests.join(format!("{name}.rs")))
                    + reject_test_attributes(&tests.join(name));
            }
        }
    }
    assert!(checked_files > 1, "no source files found below {}", workspace.display());
}

/// Returns the number of files read: a source file, or those in a directory; 0 if it does not exist.
fn reject_test_attributes(path: &Path) -> usize {
    if path.is_dir() {
        return std::fs::read_dir(path).unwrap().map(|entry| reject_test_attributes(&entry.unwrap().path())).sum();
    }
    let Ok(text) = std::fs::read_to_string(path) else { return 0 };
    let has_attribute =
        text.lines().map(str::trim).any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
    assert!(!has_attribute, "{}: remove #[test] and list the function in main", path.display());
    1
}
