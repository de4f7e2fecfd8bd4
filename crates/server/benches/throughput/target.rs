//! Processes under load: their CPU time, and the echo as a child of the bench.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use nix::unistd::{SysconfVar, sysconf};

/// Process whose CPU time is measured.
#[derive(Clone, Copy)]
pub(crate) struct Process {
    pid: u32,
}

impl Process {
    pub(crate) fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// Returns user and system time of all threads so far, µs; proc_pid_stat(5), fields 14 and 15.
    pub(crate) fn cpu_us(self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap();
        // The second field is the program's name in brackets and may contain spaces.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: f64 = [11, 12].iter().map(|&field| fields[field].parse::<f64>().unwrap()).sum();
        ticks * 1e6 / sysconf(SysconfVar::CLK_TCK).unwrap().unwrap() as f64
    }
}

/// Running echo; stopped when dropped.
pub(crate) struct Echo {
    child: Child,
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

impl Echo {
    pub(crate) fn start(response_bytes: usize) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("--echo").arg(response_bytes.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let process = Process::new(child.id());
        Self { child, process, address: address.trim().parse().unwrap() }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
