//! The overload guard: was the machine so busy in a cell that its numbers show the machine instead of the link?

use std::convert::Infallible;
use std::time::Duration;

use crate::host::CpuTicks;

/// How often the host is looked at.
const INTERVAL: Duration = Duration::from_millis(500);
/// A host this busy on average is overloaded, percent of all cores.
const HOST_PERCENT: f64 = 85.0;
/// So is one that is this busy …
const PEAK_PERCENT: f64 = 95.0;
/// … in more than this share of the time.
const PEAK_SHARE: f64 = 0.1;
/// A client whose threads are this busy can't keep up, percent of a core for each thread.
const CLIENT_PERCENT: f64 = 85.0;

/// How busy the host was, interval by interval.
#[derive(Debug, Default)]
pub(crate) struct CpuWatch {
    /// Percent of all cores in each whole interval.
    intervals: Vec<f64>,
    first: Option<CpuTicks>,
    last: Option<CpuTicks>,
}

/// What was seen of the CPU in a cell. `None`: not known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct CpuUse {
    /// Mean of the host, percent of all cores.
    pub(crate) host_percent: Option<f64>,
    /// The busiest half second of the host, percent of all cores.
    pub(crate) host_peak_percent: Option<f64>,
    /// Share of the half seconds in which the host was as good as fully busy.
    pub(crate) peak_share: Option<f64>,
    /// The server's node, percent of one core.
    pub(crate) server_percent: Option<f64>,
    /// The busiest client, percent of a core for each of its threads.
    pub(crate) client_percent: Option<f64>,
}

impl CpuWatch {
    /// Watches until it is dropped.
    pub(crate) async fn watch(&mut self) -> Infallible {
        self.first = CpuTicks::now();
        self.last = self.first;
        loop {
            tokio::time::sleep(INTERVAL).await;
            let now = CpuTicks::now();
            self.intervals.extend(now.zip(self.last).and_then(|(now, last)| now.percent_since(last)));
            self.last = now;
        }
    }

    /// What was seen up to now.
    pub(crate) fn seen(&self) -> CpuUse {
        let host_percent = CpuTicks::now().zip(self.first).and_then(|(now, first)| now.percent_since(first));
        let busy = self.intervals.iter().filter(|percent| **percent >= PEAK_PERCENT).count();
        CpuUse {
            host_percent,
            host_peak_percent: self.intervals.iter().copied().reduce(f64::max),
            peak_share: (!self.intervals.is_empty()).then(|| busy as f64 / self.intervals.len() as f64),
            ..CpuUse::default()
        }
    }
}

impl CpuUse {
    /// Why the cell is overloaded, in words; empty when it is not.
    pub(crate) fn overload(&self) -> Vec<String> {
        let host = self.host_percent.filter(|percent| *percent > HOST_PERCENT);
        let peaks = self.peak_share.filter(|share| *share > PEAK_SHARE && host.is_none());
        let client = self.client_percent.filter(|percent| *percent > CLIENT_PERCENT);
        [
            host.map(|percent| format!("the host was {percent:.0}% busy")),
            peaks.map(|share| format!("the host was fully busy {:.0}% of the time", share * 100.0)),
            client.map(|percent| format!("a client was {percent:.0}% busy")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn an_overload_is_told_by_what_was_too_busy() {
        let quiet = CpuUse {
            host_percent: Some(40.0),
            host_peak_percent: Some(99.0),
            peak_share: Some(0.05),
            server_percent: Some(30.0),
            client_percent: Some(20.0),
        };
        assert!(quiet.overload().is_empty());
        for (seen, expected) in [
            (CpuUse { host_percent: Some(90.0), ..quiet }, "the host was 90% busy"),
            (CpuUse { peak_share: Some(0.2), ..quiet }, "fully busy 20% of the time"),
            (CpuUse { client_percent: Some(97.0), ..quiet }, "a client was 97% busy"),
        ] {
            let words = seen.overload().join("; ");
            assert!(words.contains(expected), "{words}");
        }
        assert!(CpuUse::default().overload().is_empty());
    }

    #[test]
    fn a_busy_host_is_seen() {
        let stop = AtomicBool::new(false);
        let mut watch = CpuWatch::default();
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        std::hint::spin_loop()
                    }
                });
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let watched = async { tokio::time::timeout(Duration::from_millis(1_600), watch.watch()).await };
            assert!(runtime.block_on(watched).is_err(), "it watches until it is dropped");
            stop.store(true, Ordering::Relaxed);
        });
        let seen = watch.seen();
        assert!(seen.host_peak_percent.is_some_and(|percent| percent > 80.0), "{seen:?}");
    }
}
