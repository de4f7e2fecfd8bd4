//! The driver's command line: exit codes, dry runs and program names. No test here needs a namespace.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the failure")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Runs the driver in `directory` until it exits.
fn testbed(directory: &Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
    command.current_dir(directory).args(line.split_whitespace()).stdin(Stdio::null());
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the sorted directory entries, to check that nothing was created.
fn entries(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Creates a directory with the scenario files and the regular file that the tests use.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let default = include_str!("../scenarios/default.toml");
    let with = |from: &str, to: &str| {
        let text = default.replace(from, to);
        assert_ne!(text, default, "'{from}' is missing in the scenario");
        text
    };
    for (name, content) in [
        ("unknown-key.toml", with("clients = 8", "clients = 8\nclient = 9")),
        ("hash.toml", with("password_memory_kib = 256", "password_memory_kib = 1")),
        ("broken.toml", "name = ".to_owned()),
        ("file", String::new()),
    ] {
        fs::write(directory.path().join(name), content).unwrap();
    }
    directory
}

/// Invalid command lines, and a part of the message about each.
const INVALID: [(&str, &str); 33] = [
    ("fly", "fly"),
    ("run --rate 1Mps", "1Mps"),
    ("run --duration 30", "30s"),
    ("run --clients 0", "'--clients <1..1000>': invalid number '0'"),
    ("run --users 0", "--users"),
    ("run --repetitions 0", "--repetitions"),
    ("run --duration 500ms", "invalid duration '500ms'"),
    ("run --loss 100%", "100%"),
    ("run --scenario none-such", "none-such"),
    ("run --scenario unknown-key.toml", "unknown field `client`"),
    ("run --scenario broken.toml", "broken.toml"),
    ("run --scenario hash.toml", "password_memory_kib"),
    ("run --arrivals constant", "--arrival-rate"),
    ("run --repeat nowhere.json", "manifest.json"),
    ("run --repeat broken.toml", "broken.toml"),
    ("run --resume nowhere", "manifest.json"),
    ("report nowhere", "manifest.json"),
    ("run --arrival-rate 0/s", "0/s"),
    ("run --clients 1 --arrival-rate 1000001/s", "1000000/s"),
    ("run --clients 1000 --arrival-rate 1000000001/s", "1000000/s"),
    ("run --results file", "--results"),
    ("run --results file/below", "--results"),
    ("run --graphs file", "--graphs"),
    ("run --external-server no-such-host.invalid", "no-such-host.invalid"),
    ("run --external-server 127.0.0.1 --emulator shaper", "--emulator"),
    ("run --external-server 127.0.0.1 --backend netns", "--backend"),
    ("run --external-server 127.0.0.1 --jobs 2", "--jobs"),
    ("run --external-server 127.0.0.1 --combined delay=50ms,queue_limit=7", "queue"),
    ("run --emulator tcset --combined delay=50ms,queue_limit=7", "queue"),
    ("run --backend swarm --client-docker-host tcp://192.0.2.1:2375", "--backend swarm"),
    ("run --backend netns --server-docker-host tcp://192.0.2.1:2375", "--backend netns"),
    ("run --publish-port 6000", "--publish-port"),
    ("run --server-docker-host ssh://-oProxyCommand=x", "ssh://USER@HOST"),
];

#[test]
fn invalid_values_exit_with_2_and_are_named_with_and_without_dry_run() {
    let directory = directory();
    let before = entries(directory.path());
    for (line, expected) in INVALID {
        let dry = line.starts_with("run").then(|| line.replacen("run", "run --dry-run", 1));
        for line in [Some(line.to_owned()), dry].into_iter().flatten() {
            let output = testbed(directory.path(), &line);
            let stderr = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{line}: {stderr}");
            assert!(stderr.contains(expected), "{line}: '{expected}' is missing in: {stderr}");
            assert!(output.stdout.is_empty(), "{line}: {}", text(&output.stdout));
        }
    }
    assert_eq!(entries(directory.path()), before, "nothing was created");
}

#[test]
fn an_arrival_rate_is_limited_for_each_client_not_for_all_together() {
    let directory = directory();
    let output = testbed(directory.path(), "run --dry-run --clients 2 --arrival-rate 2000000/s");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn a_dry_run_prints_its_plan_as_text_or_json_and_creates_nothing() {
    let directory = directory();
    let before = entries(directory.path());
    let line = "run --dry-run --repetitions 2 --seed 7 --results new/results";
    let plain = testbed(directory.path(), line);
    let plan = text(&plain.stdout);
    assert!(plan.contains("loss-2%-r2") && plan.contains("18 cells"), "{plan}");

    let output = testbed(directory.path(), &format!("{line} --format json"));
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    let cells = plan["cells"].as_array().unwrap();
    assert_eq!((cells.len(), &plan["seed"], &plan["scenario"]["name"]), (18, &7.into(), &"default".into()));
    assert_eq!(plan["longest_s"], 18.0 * plan["cell_s"].as_f64().unwrap());
    let listed: Vec<&str> = cells.iter().map(|cell| cell["id"].as_str().unwrap()).collect();
    let printed: Vec<String> = text(&plain.stdout)
        .lines()
        .filter_map(|line| line.split_whitespace().next().filter(|word| word.contains("-r")).map(ToOwned::to_owned))
        .collect();
    assert_eq!(listed, printed, "the same cells in the same order");

    let csv = testbed(directory.path(), &format!("{line} --format csv"));
    assert_eq!(csv.status.code(), Some(2));
    assert!(text(&csv.stderr).contains("--format csv"), "{}", text(&csv.stderr));
    assert_eq!(entries(directory.path()), before, "nothing was created");
}

/// Runs the driver until its first prompt, at which it fails because stdin is closed. Needs neither Docker nor
/// namespaces.
fn run_without_stdin(directory: &Path, flag: &str) -> Output {
    let line = format!("run --external-server 127.0.0.1 --clients 1 --delay 0 --duration 1s {flag}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
    command.current_dir(directory).args(line.split_whitespace()).stdin(Stdio::null());
    command.env("DOCKER_HOST", "unix:///nonexistent/docker.sock").output().unwrap()
}

#[test]
fn the_log_contains_every_step_and_stderr_depends_on_the_verbosity() {
    let stderr_and_log = |flag: &str| {
        let directory = tempfile::tempdir().unwrap();
        let output = run_without_stdin(directory.path(), flag);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        let run = fs::read_dir(directory.path().join("results")).unwrap().next().unwrap().unwrap().path();
        (text(&output.stderr), fs::read_to_string(run.join("logs/driver.log")).unwrap())
    };
    let [(normal, log), (quiet, quiet_log), (verbose, _)] = ["", "--quiet", "-v"].map(stderr_and_log);
    // The reason for the backend is a detail: the step on stderr contains only the backend's name.
    let (step, detail, prompt, error) = ("backend host", "no Docker", "set on 127.0.0.1: baseline", "stdin");
    for log in [log, quiet_log] {
        for expected in ["DEBUG testbed ", step, detail, prompt, "ERROR testbed: ", "DEBUG removed directory "] {
            assert!(log.contains(expected), "'{expected}' is missing in\n{log}");
        }
        assert!(!log.contains('\u{1b}'), "no colours in\n{log}");
        let timed = log.lines().filter(|line| line.starts_with("20") && line.contains("Z ")).count();
        assert!(timed >= 6, "every event has its time in UTC:\n{log}");
    }
    let has = |stderr: &str| [step, detail, prompt, error].map(|part| stderr.contains(part));
    assert_eq!(has(&normal), [true, false, true, true], "{normal}");
    assert_eq!(has(&quiet), [false, false, true, true], "{quiet}");
    assert_eq!(has(&verbose), [true; 4], "{verbose}");
}

#[test]
fn doctor_prints_the_command_that_works_in_its_last_line_and_the_same_as_json() {
    let directory = tempfile::tempdir().unwrap();
    let plain = testbed(directory.path(), "doctor");
    let output = testbed(directory.path(), "doctor --json");
    assert_eq!(plain.status.code(), output.status.code());
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["ready"], plain.status.success());
    let plain = text(&plain.stdout);
    let last = plain.lines().last().unwrap();
    match json["run"]["command"].as_str() {
        Some(command) => {
            let (backend, emulator) =
                (json["run"]["backend"].as_str().unwrap(), json["run"]["emulator"].as_str().unwrap());
            assert_eq!(last, format!("ready: `{command}` works on this host (backend {backend}, emulator {emulator})"));
        }
        None => assert!(last.starts_with("not ready: "), "{plain}"),
    }
    for finding in json["findings"].as_array().unwrap() {
        let mark = if finding["ok"] == true { "ok     " } else { "missing" };
        let line = format!("{mark}  {}: {}", finding["what"].as_str().unwrap(), finding["detail"].as_str().unwrap());
        assert!(plain.contains(&line), "'{line}' is missing in\n{plain}");
    }
}

/// Starts the driver's own binary as `shop-server`; compares its name in `top` and its arguments in `ps`.
#[test]
fn a_program_in_the_drivers_binary_has_its_own_name_in_ps_and_top() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
    command.arg0("shop-server").current_dir(directory.path()).args(["serve", "--database", "shop.db"]);
    command.args(["--accounts-listen", "127.0.0.1:0", "--shop-listen", "127.0.0.1:0"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let of_child = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", child.id())).unwrap();
    let (name, arguments) = (of_child("comm"), of_child("cmdline"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(ready.contains("shop"), "{ready}");
    assert_eq!(name.trim(), "shop-server");
    assert!(arguments.starts_with("shop-server\0serve\0"), "{arguments:?}");
}
