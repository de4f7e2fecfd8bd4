//! Runs the real driver in a folder of its own and, when something is not as expected, shows all it said.
#![allow(dead_code, unused_imports, reason = "each test file uses its part of this")]
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

pub(crate) use run_files::{EARLY_MS, Rows, RunFiles, assert_same_decisions};

/// How long a test waits for something before it fails. Generous: how fast the host is decides no verdict.
pub(crate) const WAIT_TIMEOUT: Duration = Duration::from_secs(120);

/// Network namespaces and a TUN device for the shaper, with or without root.
pub(crate) fn netns() -> Result<(), String> {
    works("network namespaces")?;
    works("/dev/net/tun")
}

/// A run whose namespaces the test enters.
pub(crate) fn netns_as_root() -> Result<(), String> {
    requirements::root()?;
    requirements::program("nsenter", &["--version"], "util-linux")?;
    requirements::program("ip", &["-V"], "iproute2")?;
    netns()
}

/// A Docker Backend with images of this build's nodes: the driver refuses others.
pub(crate) fn docker_with_images() -> Result<(), String> {
    static IMAGE: LazyLock<String> = LazyLock::new(|| {
        let run = ["run", "--rm", "--network", "none", "--entrypoint", "shop-server", "testbed-shop-server:latest"];
        build(Command::new("docker").args(run))
    });
    works("Docker")?;
    let driver = build(Command::new(env!("CARGO_BIN_EXE_testbed")).args(["program", "shop-server"]));
    if *IMAGE == driver {
        return Ok(());
    }
    Err(format!(
        "needs images of this build, '{driver}', got '{}': run docker/offline.sh or 'docker compose build'",
        *IMAGE
    ))
}

/// What stands in parentheses behind a program's version: its build, without the profile that may follow.
fn build(program: &mut Command) -> String {
    let output = program.arg("--version").output().unwrap();
    let version = String::from_utf8_lossy(&output.stdout);
    version.split(['(', ',', ')']).nth(1).unwrap_or_default().to_owned()
}

/// Whether `testbed doctor` found this to work.
fn works(what: &str) -> Result<(), String> {
    static DOCTOR: LazyLock<String> = LazyLock::new(|| {
        let doctor = Command::new(env!("CARGO_BIN_EXE_testbed")).arg("doctor").output().unwrap();
        String::from_utf8(doctor.stdout).unwrap()
    });
    let about = |line: &&str| line.get(9..).is_some_and(|rest| rest.starts_with(&format!("{what}:")));
    let line = DOCTOR.lines().find(about).unwrap_or_else(|| panic!("no line about {what} in: {}", *DOCTOR));
    if line.starts_with("missing") { Err(format!("needs {}", &line[9..])) } else { Ok(()) }
}

/// The driver, to be started in `folder`. Its temporary folder is below it, so that no other run removes what this one
/// leaves there.
pub(crate) fn testbed(folder: &Path, arguments: &[&str]) -> Command {
    let temporary = folder.join(TEMPORARY);
    fs::create_dir_all(&temporary).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
    command.current_dir(folder).args(arguments).env("TMPDIR", temporary).stdin(Stdio::null());
    command
}

const TEMPORARY: &str = "tmp";

/// A driver that was run to its end.
pub(crate) struct Finished {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) output: Output,
}

impl Finished {
    pub(crate) fn code(&self) -> Option<i32> {
        self.output.status.code()
    }

    /// All it said, for failure messages.
    pub(crate) fn words(&self) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        format!(
            "{}\nstdout:\n{}\nstderr:\n{}",
            self.output.status,
            text(&self.output.stdout),
            text(&self.output.stderr)
        )
    }

    /// The temporary folder of the run, which must be gone when its driver is.
    pub(crate) fn temporary_folder(&self) -> PathBuf {
        temporary_folder(self.folder.path(), &self.run().id)
    }

    pub(crate) fn run(&self) -> RunFiles {
        assert!(self.folder.path().join("results").exists(), "the driver left no results: {}", self.words());
        RunFiles::only_one_in(self.folder.path())
    }

    /// All cells were proved. The exit code says so, unless the host was so busy that cells are overloaded or stalled.
    pub(crate) fn assert_verified(&self) {
        let cells = self.run().csv("cells.csv");
        assert!(!cells.is_empty() && cells.iter().all(|row| row["verdict"] == "verified"), "{}", self.words());
        let was_idle = cells.iter().all(|row| row["overload_reasons"].is_empty() && row["server_stall"].is_empty());
        let expected = if was_idle { 0 } else { 3 };
        assert_eq!(self.code(), Some(expected), "{}", self.words());
    }
}

fn temporary_folder(folder: &Path, run_id: &str) -> PathBuf {
    folder.join(TEMPORARY).join(format!("testbed-{run_id}"))
}

/// Runs the driver to its end.
pub(crate) fn finish(arguments: &[&str]) -> Finished {
    let folder = tempfile::tempdir().unwrap();
    let output = testbed(folder.path(), arguments).output().unwrap();
    Finished { folder, output }
}

/// A driver under way. Killed when dropped.
pub(crate) struct Running {
    pub(crate) folder: tempfile::TempDir,
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_from(arguments, Stdio::null())
    }

    /// With a stdin that [`Running::press_enter`] writes to.
    pub(crate) fn start_with_stdin(arguments: &[&str]) -> Self {
        Self::start_from(arguments, Stdio::piped())
    }

    pub(crate) fn press_enter(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    fn start_from(arguments: &[&str], stdin: Stdio) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = testbed(folder.path(), arguments);
        command.stdin(stdin);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { folder, child, lines, seen: Vec::new() }
    }

    /// Waits for a line of stderr that contains `text`.
    pub(crate) fn wait_for_line(&mut self, text: &str) {
        let deadline = Instant::now() + WAIT_TIMEOUT;
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.seen.push(line);
            if self.seen.last().unwrap().contains(text) {
                return;
            }
        }
        panic!("no line with '{text}' came; it said:\n{}", self.seen.join("\n"));
    }

    /// Waits for a child process of the driver whose command line contains all of `words`.
    pub(crate) fn wait_for_child(&self, words: &[&str]) -> Pid {
        let deadline = Instant::now() + WAIT_TIMEOUT;
        while Instant::now() < deadline {
            if let Some(pid) = self.children().into_iter().find(|pid| {
                let line = command_line(*pid);
                words.iter().all(|word| line.contains(word))
            }) {
                return pid;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("no child process with {words:?} came up; the driver said:\n{}", self.seen.join("\n"));
    }

    /// The folder of the first lab's server, on namespaces.
    pub(crate) fn server_folder(&self) -> PathBuf {
        let run = RunFiles::only_one_in(self.folder.path());
        temporary_folder(self.folder.path(), &run.id).join("lab-1").join("server")
    }

    /// Waits until a client of the first lab works in this cell, on namespaces: its CSV shows it.
    pub(crate) fn wait_for_rows(&self, client: &str, cell: &str) {
        self.wait_for_row(client, cell, |_| true);
    }

    /// Waits until a client of the first lab, on namespaces, has written such a row of this cell.
    pub(crate) fn wait_for_row(&self, client: &str, cell: &str, fits: impl Fn(&BTreeMap<String, String>) -> bool) {
        let run = RunFiles::only_one_in(self.folder.path());
        let csv = temporary_folder(self.folder.path(), &run.id).join("lab-1").join(client).join("samples.csv");
        let deadline = Instant::now() + WAIT_TIMEOUT;
        let is_there = || {
            let text = fs::read_to_string(&csv).unwrap_or_default();
            // What follows the last line break is half a row.
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let mut rows = csv::Reader::from_reader(whole.as_bytes()).into_deserialize::<BTreeMap<String, String>>();
            rows.any(|row| row.is_ok_and(|row| row["cell"] == cell && fits(&row)))
        };
        while !is_there() {
            assert!(Instant::now() < deadline, "{client} writes no such row of {cell}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn children(&self) -> Vec<Pid> {
        let me = self.child.id();
        let path = format!("/proc/{me}/task/{me}/children");
        let text = fs::read_to_string(path).unwrap_or_default();
        text.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap())).collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Finished {
        let deadline = Instant::now() + WAIT_TIMEOUT;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the driver does not end; it said:\n{}", self.seen.join("\n"));
            std::thread::sleep(Duration::from_millis(20));
        };
        while let Ok(line) = self.lines.recv_timeout(WAIT_TIMEOUT) {
            self.seen.push(line);
        }
        let stderr = self.seen.join("\n").into_bytes();
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        Finished { folder, output: Output { status, stdout: Vec::new(), stderr } }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command_line(pid: Pid) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// Whether a process still exists and is no zombie.
pub(crate) fn lives(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

/// Waits until none of the processes exists any more.
pub(crate) fn wait_until_gone(pids: &[Pid]) {
    let deadline = Instant::now() + WAIT_TIMEOUT;
    while pids.iter().any(|pid| lives(*pid)) {
        assert!(Instant::now() < deadline, "still alive: {pids:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
