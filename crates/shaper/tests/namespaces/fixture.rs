//! Two namespaces connected by a veth pair, and a shaper in the first. Removed when dropped.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use shaper::control_protocol::{Event, Status};

/// Address of the shaped node.
pub(crate) const NEAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Address of its peer.
pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// The shaper built with these tests.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_shaper");

static COUNT: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Fixture {
    pub(crate) near: String,
    pub(crate) far: String,
}

/// Creates the fixture. Returns `None` and prints the reason if this host does not permit it.
pub(crate) fn fixture() -> Option<Fixture> {
    if let Some(reason) = unmet_requirement() {
        println!("skipped: {reason}");
        return None;
    }
    let prefix = format!("shaper-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    // Created before the namespaces: its drop removes them if a step fails.
    let fixture = Fixture { near: format!("{prefix}-near"), far: format!("{prefix}-far") };
    for (name, address) in [(&fixture.near, NEAR), (&fixture.far, FAR)] {
        ip(&format!("netns add {name}"));
        ip(&format!("-n {name} link set lo up"));
        if *name == fixture.far {
            ip(&format!("link add eth0 netns {} type veth peer name eth0 netns {}", fixture.near, fixture.far));
            ip(&format!("-n {} addr add {NEAR}/24 dev eth0", fixture.near));
            ip(&format!("-n {} link set eth0 up", fixture.near));
            ip(&format!("-n {name} addr add {address}/24 dev eth0"));
            ip(&format!("-n {name} link set eth0 up"));
        }
    }
    ip(&format!("-n {} route add default via {FAR}", fixture.near));
    Some(fixture)
}

fn unmet_requirement() -> Option<&'static str> {
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root to create network namespaces");
    }
    if File::options().read(true).write(true).open("/dev/net/tun").is_err() {
        return Some("needs /dev/net/tun");
    }
    Command::new("ip").arg("-V").output().is_err().then_some("needs the program 'ip' (package iproute2)")
}

/// Runs `ip` and returns its output.
pub(crate) fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs `work` and the processes that it starts on one CPU.
pub(crate) fn on_cpu<T: Send>(cpu: usize, work: impl FnOnce() -> T + Send) -> T {
    let pinned = move || {
        sched_setaffinity(Pid::from_raw(0), &only(cpu)).unwrap();
        work()
    };
    std::thread::scope(|scope| scope.spawn(pinned).join().unwrap())
}

/// Returns the first CPU that this process may use.
pub(crate) fn first_cpu() -> usize {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
    (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap()).unwrap()
}

fn only(cpu: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(cpu).unwrap();
    set
}

impl Fixture {
    /// Runs `work` in a namespace; the sockets that it opens remain in it.
    pub(crate) fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/var/run/netns/{namespace}")).unwrap();
        let entered = move || {
            setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        std::thread::scope(|scope| scope.spawn(entered).join().unwrap())
    }

    /// Returns the number of packets that the shaped device has sent; a GSO packet counts as one.
    pub(crate) fn packets_sent(&self) -> u64 {
        let links: serde_json::Value =
            serde_json::from_str(&ip(&format!("-n {} -s -j link show eth0", self.near))).unwrap();
        links[0]["stats64"]["tx"]["packets"].as_u64().unwrap()
    }

    /// Runs one command of the shaper in the near namespace.
    pub(crate) fn command(&self, arguments: &str) -> Output {
        self.prepared(BINARY, arguments).output().unwrap()
    }

    /// Runs a command that must succeed; returns the status that it prints.
    pub(crate) fn status(&self, arguments: &str) -> Status {
        let output = self.command(arguments);
        assert!(output.status.success(), "shaper {arguments}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Returns IPv4 rules, IPv4 routes, interfaces and filtering of the near namespace as text. IPv6 routes would
    /// differ: they appear only after duplicate address detection.
    pub(crate) fn routing(&self) -> String {
        let near = &self.near;
        let filter = Self::inside(near, || std::fs::read_to_string("/proc/sys/net/ipv4/conf/eth0/rp_filter").unwrap());
        let rules = ip(&format!("-4 -n {near} rule show"));
        let routes = ip(&format!("-4 -n {near} route show table all"));
        let links = ip(&format!("-n {near} -br link show"));
        [rules, routes, links, filter].concat()
    }

    /// Starts `shaper run` in the near namespace and waits until it is ready.
    pub(crate) fn start(&self, arguments: &str) -> Running {
        self.start_program(BINARY, arguments)
    }

    /// Same as [`Self::start`], with the shaper of another build.
    pub(crate) fn start_program(&self, program: &str, arguments: &str) -> Running {
        let mut command = self.prepared(program, &format!("run {arguments}"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut running = Running { child };
        match serde_json::from_str::<Event>(line.trim_end()) {
            Ok(ready) => {
                assert_eq!(ready.status.pid, running.pid(), "'ip netns exec' executes the shaper in the same process")
            }
            Err(error) => panic!("shaper run {arguments}: '{line}' ({error}), stderr: {}", running.stderr()),
        }
        running
    }

    fn prepared(&self, program: &str, arguments: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.near, program]).args(arguments.split_whitespace());
        command
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        for name in [&self.near, &self.far] {
            let _absent = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

/// CPU time and sleeps of a thread.
pub(crate) struct ThreadTimes {
    pub(crate) cpu: Duration,
    /// Voluntary context switches.
    pub(crate) sleeps: u64,
}

/// A running shaper; killed when dropped.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.id(), signal).unwrap();
    }

    /// Returns what the kernel counted for the shaper's forwarder.
    pub(crate) fn forwarder_times(&self) -> ThreadTimes {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let mut directories = tasks.map(|task| task.unwrap().path());
        let is_forwarder =
            |directory: &PathBuf| std::fs::read_to_string(directory.join("comm")).unwrap() == "shaper-packets\n";
        let directory = directories.find(is_forwarder).unwrap();
        let [schedstat, status] =
            ["schedstat", "status"].map(|name| std::fs::read_to_string(directory.join(name)).unwrap());
        let sleeps = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        let nanoseconds = schedstat.split(' ').next().unwrap();
        ThreadTimes { cpu: Duration::from_nanos(nanoseconds.parse().unwrap()), sleeps: sleeps.trim().parse().unwrap() }
    }

    /// Pins all threads of the shaper to one CPU.
    pub(crate) fn pin(&self, cpu: usize) {
        for task in std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap() {
            let thread = task.unwrap().file_name().into_string().unwrap().parse().unwrap();
            sched_setaffinity(Pid::from_raw(thread), &only(cpu)).unwrap();
        }
    }

    /// Sets the limit of open files; returns the previous limit.
    pub(crate) fn limit_open_files(&self, limit: u64) -> u64 {
        let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: without a new limit the kernel only writes the current one, into a structure that outlives the call.
        let read = unsafe { libc::prlimit(self.id().as_raw(), libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut before) };
        let new = libc::rlimit { rlim_cur: limit, ..before };
        // SAFETY: the kernel only reads the new limit, which outlives the call, and does not write the previous one.
        let written =
            unsafe { libc::prlimit(self.id().as_raw(), libc::RLIMIT_NOFILE, &raw const new, std::ptr::null_mut()) };
        assert_eq!((read, written), (0, 0), "{}", std::io::Error::last_os_error());
        before.rlim_cur
    }

    /// Returns the next line that the shaper prints on stderr.
    pub(crate) fn stderr_line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
        line
    }

    fn id(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.pid()).unwrap())
    }

    pub(crate) fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits for the end; returns the exit code (`None` if killed by a signal) and stderr.
    pub(crate) fn wait(&mut self) -> (Option<i32>, String) {
        let stderr = self.stderr();
        (self.child.wait().unwrap().code(), stderr)
    }

    pub(crate) fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        assert_eq!(self.wait(), (Some(0), String::new()));
    }

    /// Returns all of stderr, which ends with the process.
    fn stderr(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut text).unwrap();
        }
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
