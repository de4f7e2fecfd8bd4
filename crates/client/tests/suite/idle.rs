//! `idle` as the first process of a container: ends when told, and collects orphans.
use std::fs;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const CLIENT: &str = env!("CARGO_BIN_EXE_shop-client");

/// The program; a test that fails leaves none behind.
struct Idle(Child);

impl Drop for Idle {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Idle {
    fn start(command: &mut Command) -> Self {
        let idle = Self(command.spawn().unwrap());
        wait_until("waiting for signals", || idle.is_waiting());
        idle
    }

    /// Whether the process waits for SIGTERM instead of being ended by it.
    fn is_waiting(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap();
        u64::from_str_radix(blocked, 16).unwrap() & (1 << (Signal::SIGTERM as u64 - 1)) != 0
    }

    fn end(mut self, signal: Signal) -> ExitStatus {
        kill(Pid::from_raw(self.0.id() as i32), signal).unwrap();
        self.0.wait().unwrap()
    }
}

/// Looks again and again until `seen` is true.
fn wait_until(what: &str, mut seen: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !seen() {
        assert!(Instant::now() < deadline, "{what}: not within 10 s");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn it_ends_well_when_told() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let idle = Idle::start(Command::new(CLIENT).arg("idle"));
        assert_eq!(idle.end(signal).code(), Some(0), "{signal}");
    }
}

#[test]
fn children_that_it_inherited_do_not_stay_as_zombies() {
    // The shell's children become those of the program that takes its place: one that ends early, one that ends late.
    let script = format!("true & sleep 0.3 & exec {CLIENT} idle");
    let idle = Idle::start(Command::new("sh").args(["-c", &script]));
    let pid = idle.0.id();
    let children = || fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    wait_until("collecting children", || children().trim().is_empty());
    assert_eq!(idle.end(Signal::SIGTERM).code(), Some(0));
}
