//! Runs the real driver in a temporary directory. A failed assertion shows its whole output.
#![allow(dead_code, unused_imports, reason = "each test file uses a part of this")]
#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic is the failure")]

mod run_files;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use test_support::requirements;

pub(crate) use run_files::{RTT_TOLERANCE_MS, Rows, RunFiles, assert_same_choices};

/// Timeout of everything a test waits for. Generous: a slow host must not fail a test.
pub(crate) const WAIT_TIMEOUT: Duration = Duration::from_secs(120);

/// Requires network namespaces and a TUN device for the shaper, with or without root.
pub(crate) fn netns() -> Result<(), String> {
    doctor_finds("network namespaces")?;
    doctor_finds("/dev/net/tun")
}

/// Requires the rights to enter a run's namespaces.
pub(crate) fn netns_as_root() -> Result<(), String> {
    requirements::root()?;
    requirements::program("nsenter", &["--version"], "util-linux")?;
    requirements::program("ip", &["-V"], "iproute2")?;
    netns()
}

/// Requires Docker with images of this build: the driver rejects others.
pub(crate) fn docker_with_images() -> Result<(), String> {
    static IMAGE: LazyLock<String> = LazyLock::new(|| {
        let run = ["run", "--rm", "--network", "none", "--entrypoint", "shop-server", "testbed-shop-server:latest"];
        build(Command::new("docker").args(run))
    });
    doctor_finds("Docker")?;
    let driver = build(Command::new(env!("CARGO_BIN_EXE_testbed")).args(["program", "shop-server"]));
    if *IMAGE == driver {
        return Ok(());
    }
    Err(format!(
        "needs images of this build, '{driver}', got '{}': run docker/offline.sh or 'docker compose build'",
        *IMAGE
    ))
}

/// Returns the build from a program's version: the text in parentheses, without the optimisation level.
fn build(program: &mut Command) -> String {
    let output = program.arg("--version").output().unwrap();
    let version = String::from_utf8_lossy(&output.stdout);
    version.split(['(', ',', ')']).nth(1).unwrap_or_default().to_owned()
}

/// Fails if `testbed doctor` reports this as missing.
fn doctor_finds(what: &str) -> Result<(), String> {
    static DOCTOR: LazyLock<String> = LazyLock::new(|| {
        let doctor = Command::new(env!("CARGO_BIN_EXE_testbed")).arg("doctor").output().unwrap();
        String::from_utf8(doctor.stdout).unwrap()
    });
    let is_about = |line: &&str| line.get(9..).is_some_and(|rest| rest.starts_with(&format!("{what}:")));
    let line = DOCTOR.lines().find(is_about).unwrap_or_else(|| panic!("no line about {what} in: {}", *DOCTOR));
    if line.starts_with("missing") { Err(format!("needs {}", &line[9..])) } else { Ok(()) }
}

/// Returns the driver's command, in `directory`. Its temporary directory is below that: runs of other tests must not
/// remove stale resources of this one.
pub(crate) fn testbed(directory: &Path, arguments: &[&str]) -> Command {
    let temporary = directory.join(TEMPORARY);
    fs::create_dir_all(&temporary).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
    command.current_dir(directory).args(arguments).env("TMPDIR", temporary).stdin(Stdio::null());
    command
}

const TEMPORARY: &str = "tmp";

/// A driver that has exited.
pub(crate) struct Finished {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) output: Output,
}

impl Finished {
    pub(crate) fn code(&self) -> Option<i32> {
        self.output.status.code()
    }

    /// Returns status and output, for failure messages.
    pub(crate) fn printed(&self) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        format!(
            "{}\nstdout:\n{}\nstderr:\n{}",
            self.output.status,
            text(&self.output.stdout),
            text(&self.output.stderr)
        )
    }

    /// Returns the temporary directory of the run, which the driver must remove.
    pub(crate) fn temporary_directory(&self) -> PathBuf {
        temporary_directory(self.directory.path(), &self.run().id)
    }

    pub(crate) fn run(&self) -> RunFiles {
        assert!(self.directory.path().join("results").exists(), "no results: {}", self.printed());
        RunFiles::only_one_in(self.directory.path())
    }

    /// Asserts that all cells are verified. The exit code is 0, or 3 if a cell is overloaded or stalled.
    pub(crate) fn assert_verified(&self) {
        let cells = self.run().csv("cells.csv");
        assert!(!cells.is_empty() && cells.iter().all(|row| row["verdict"] == "verified"), "{}", self.printed());
        let was_idle = cells.iter().all(|row| row["overload_reasons"].is_empty() && row["server_stall"].is_empty());
        let expected = if was_idle { 0 } else { 3 };
        assert_eq!(self.code(), Some(expected), "{}", self.printed());
    }
}

fn temporary_directory(directory: &Path, run_id: &str) -> PathBuf {
    directory.join(TEMPORARY).join(format!("testbed-{run_id}"))
}

/// Runs the driver until it exits.
pub(crate) fn finish(arguments: &[&str]) -> Finished {
    let directory = tempfile::tempdir().unwrap();
    let output = testbed(directory.path(), arguments).output().unwrap();
    Finished { directory, output }
}

/// A running driver. Killed when dropped.
pub(crate) struct Running {
    pub(crate) directory: tempfile::TempDir,
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
    printed: Vec<String>,
}

impl Running {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_from(arguments, Stdio::null())
    }

    /// Starts the driver with a stdin that [`Running::press_enter`] writes to.
    pub(crate) fn start_with_stdin(arguments: &[&str]) -> Self {
        Self::start_from(arguments, Stdio::piped())
    }

    pub(crate) fn press_enter(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    fn start_from(arguments: &[&str], stdin: Stdio) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = testbed(directory.path(), arguments);
        command.stdin(stdin);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { directory, child, lines, printed: Vec::new() }
    }

    /// Waits for a line of stderr that contains `text`.
    pub(crate) fn wait_for_line(&mut self, text: &str) {
        let deadline = Instant::now() + WAIT_TIMEOUT;
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.printed.push(line);
            if self.printed.last().unwrap().contains(text) {
                return;
            }
        }
        panic!("no line with '{text}' in:\n{}", self.printed.join("\n"));
    }

    /// Waits for a child process of the driver whose command line contains all `parts`.
    pub(crate) fn wait_for_child(&self, parts: &[&str]) -> Pid {
        let deadline = Instant::now() + WAIT_TIMEOUT;
        while Instant::now() < deadline {
            if let Some(pid) = self.children().into_iter().find(|pid| {
                let line = command_line(*pid);
                parts.iter().all(|part| line.contains(part))
            }) {
                return pid;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("no child process with {parts:?}; the driver printed:\n{}", self.printed.join("\n"));
    }

    /// Returns the working directory of the first environment's server, for backend netns.
    pub(crate) fn server_work_dir(&self) -> PathBuf {
        self.environment_directory().join("server")
    }

    fn environment_directory(&self) -> PathBuf {
        let run = RunFiles::only_one_in(self.directory.path());
        temporary_directory(self.directory.path(), &run.id).join("environment-1")
    }

    /// Waits until a client of the first environment has written a row of this cell, for backend netns.
    pub(crate) fn wait_for_rows(&self, client: &str, cell: &str) {
        self.wait_for_row(client, cell, |_| true);
    }

    /// Waits until a client of the first environment has written a row of this cell that matches, for backend netns.
    pub(crate) fn wait_for_row(&self, client: &str, cell: &str, matches: impl Fn(&BTreeMap<String, String>) -> bool) {
        let csv = self.environment_directory().join(client).join("samples.csv");
        let pid = self.wait_for_child(&["workload", cell, client]);
        let deadline = Instant::now() + WAIT_TIMEOUT;
        let is_written = || {
            // Until the client of this cell has opened the file, it contains rows of the previous cell.
            if !has_open(pid, &csv) {
                return false;
            }
            let text = fs::read_to_string(&csv).unwrap_or_default();
            // The text after the last line break is an incomplete row.
            let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
            let mut rows = csv::Reader::from_reader(complete.as_bytes()).into_deserialize::<BTreeMap<String, String>>();
            rows.any(|row| row.is_ok_and(|row| matches(&row)))
        };
        while !is_written() {
            assert!(Instant::now() < deadline, "{client} wrote no such row of {cell}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn children(&self) -> Vec<Pid> {
        let id = self.child.id();
        let path = format!("/proc/{id}/task/{id}/children");
        let text = fs::read_to_string(path).unwrap_or_default();
        text.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap())).collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Waits until the driver exits.
    pub(crate) fn end(mut self) -> Finished {
        let deadline = Instant::now() + WAIT_TIMEOUT;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the driver did not exit; it printed:\n{}", self.printed.join("\n"));
            std::thread::sleep(Duration::from_millis(20));
        };
        while let Ok(line) = self.lines.recv_timeout(WAIT_TIMEOUT) {
            self.printed.push(line);
        }
        let stderr = self.printed.join("\n").into_bytes();
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap());
        Finished { directory, output: Output { status, stdout: Vec::new(), stderr } }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns whether a process has a file open.
fn has_open(pid: Pid, path: &Path) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok()).any(|open| open == path)
}

fn command_line(pid: Pid) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// Returns whether a process exists and is no zombie.
pub(crate) fn lives(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

/// Waits until none of the processes exists.
pub(crate) fn wait_until_gone(pids: &[Pid]) {
    let deadline = Instant::now() + WAIT_TIMEOUT;
    while pids.iter().any(|pid| lives(*pid)) {
        assert!(Instant::now() < deadline, "still alive: {pids:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
