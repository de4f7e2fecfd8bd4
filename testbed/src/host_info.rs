//! Host facts for the manifest, and CPU counters.

use std::fs;

use serde_json::{Value, json};

/// Returns facts of this host that results depend on. Facts that cannot be read are null.
pub(crate) fn info() -> Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    json!({
        "kernel": kernel(),
        "congestion_control": read("/proc/sys/net/ipv4/tcp_congestion_control"),
        "cpu": cpu,
        "cores": std::thread::available_parallelism().map(usize::from).ok(),
        "memory_kib": memory_kib(),
        "kernel_hz": kernel_hz(),
        "clocksource": read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
    })
}

/// Returns the kernel's release.
pub(crate) fn kernel() -> Option<String> {
    read("/proc/sys/kernel/osrelease")
}

/// Returns the host's name.
pub(crate) fn name() -> String {
    read("/proc/sys/kernel/hostname").unwrap_or_default()
}

/// File with the id that the kernel generates at each boot: the same in all containers on this kernel, and in no
/// others.
pub(crate) const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Returns the id of the running kernel's boot.
pub(crate) fn boot_id() -> Option<String> {
    read(BOOT_ID)
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn memory_kib() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    text.lines().find(|line| line.starts_with("MemTotal"))?.split_whitespace().nth(1)?.parse().ok()
}

/// Returns CONFIG_HZ if the kernel's configuration is readable.
fn kernel_hz() -> Option<u32> {
    let release = kernel()?;
    let config = fs::read_to_string(format!("/boot/config-{release}")).ok()?;
    config.lines().find_map(|line| line.strip_prefix("CONFIG_HZ=")).and_then(|hz| hz.parse().ok())
}

/// CPU time of all cores since boot, in clock ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CpuTicks {
    busy: u64,
    all: u64,
}

impl CpuTicks {
    /// Reads the counters from `/proc/stat`.
    pub(crate) fn now() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    /// Parses the `cpu` line: user nice system idle iowait irq softirq steal, see proc(5). Guest time is part of user.
    pub(crate) fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<u64> = line.split_whitespace().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
        let [_, _, _, idle, waiting, ..] = ticks.as_slice() else { return None };
        let all = ticks.iter().sum();
        Some(Self { busy: all - idle - waiting, all })
    }

    /// Returns the CPU load since `earlier`, percent of all cores.
    pub(crate) fn percent_since(self, earlier: Self) -> Option<f64> {
        let all = self.all.checked_sub(earlier.all).filter(|all| *all > 0)?;
        Some(self.busy.saturating_sub(earlier.busy) as f64 / all as f64 * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_boot_has_an_id() {
        assert_eq!(boot_id().unwrap().len(), "01234567-89ab-cdef-0123-456789abcdef".len());
    }

    #[test]
    fn cpu_load_excludes_idle_and_iowait() {
        let earlier = CpuTicks::parse("cpu  10 0 10 80 0 0 0 0 0 0\ncpu0 1 2 3\n").unwrap();
        let later = CpuTicks::parse("cpu  30 0 20 130 10 5 5 0 0 0\n").unwrap();
        assert_eq!(later.percent_since(earlier), Some(40.0));
        assert_eq!(earlier.percent_since(earlier), None);
        assert!(CpuTicks::now().is_some());
    }
}
