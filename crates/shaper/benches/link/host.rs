//! Description of the host. Results of different hosts are not comparable.

use std::fs;

/// Returns processor, cores, kernel and load, in one sentence.
pub(crate) fn describe() -> String {
    let cores = std::thread::available_parallelism().unwrap();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    format!(
        "{}, {cores} core(s), Linux {}, load average {} before the bench.",
        processor(),
        kernel.trim(),
        load_average()
    )
}

/// Returns the load average of the last minute.
pub(crate) fn load_average() -> String {
    fs::read_to_string("/proc/loadavg").unwrap().split(' ').next().unwrap_or_default().to_owned()
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap();
    let model = text.lines().find(|line| line.starts_with("model name"));
    model.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown processor").to_owned()
}
