//! Overload check: whether CPU load of the host or a client affected the results of a cell.

use std::convert::Infallible;
use std::time::Duration;

use crate::host_info::CpuTicks;

/// Interval between readings of the host's CPU counters.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Mean CPU load above which the host is overloaded, percent of all cores.
const HOST_THRESHOLD_PERCENT: f64 = 85.0;
/// The host is also overloaded if its CPU load reaches this, percent of all cores …
const PEAK_THRESHOLD_PERCENT: f64 = 95.0;
/// … in more than this share of the intervals.
const MAX_PEAK_SHARE: f64 = 0.1;
/// CPU load above which a client cannot keep up, percent of a core per thread.
const CLIENT_THRESHOLD_PERCENT: f64 = 85.0;

/// Recorder of the host's CPU load.
#[derive(Debug, Default)]
pub(crate) struct CpuWatch {
    /// CPU load of each complete interval, percent of all cores.
    intervals: Vec<f64>,
    first: Option<CpuTicks>,
    last: Option<CpuTicks>,
}

/// CPU load in a cell. `None`: not known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct CpuUse {
    /// Mean CPU load of the host, percent of all cores.
    pub(crate) host_percent: Option<f64>,
    /// Maximum CPU load of the host in half a second, percent of all cores.
    pub(crate) host_peak_percent: Option<f64>,
    /// Share of the half seconds in which the host's CPU load reached 95 %.
    pub(crate) peak_share: Option<f64>,
    /// CPU load of the server's node, percent of one core.
    pub(crate) server_percent: Option<f64>,
    /// Maximum CPU load of a client, percent of a core per thread.
    pub(crate) client_percent: Option<f64>,
}

impl CpuWatch {
    /// Records the host's CPU load until the future is dropped.
    pub(crate) async fn watch(&mut self) -> Infallible {
        self.watch_with(CpuTicks::now, POLL_INTERVAL).await
    }

    /// Reads the counters at the start and after each `interval`.
    async fn watch_with(&mut self, mut read: impl FnMut() -> Option<CpuTicks>, interval: Duration) -> Infallible {
        self.first = read();
        self.last = self.first;
        loop {
            tokio::time::sleep(interval).await;
            let now = read();
            self.intervals.extend(now.zip(self.last).and_then(|(now, last)| now.percent_since(last)));
            self.last = now;
        }
    }

    /// Returns the CPU load from the first reading until now.
    pub(crate) fn usage(&self) -> CpuUse {
        self.load_until(CpuTicks::now())
    }

    /// Returns the mean CPU load from the first reading until `now`, and the peaks of the complete intervals between.
    fn load_until(&self, now: Option<CpuTicks>) -> CpuUse {
        let host_percent = now.zip(self.first).and_then(|(now, first)| now.percent_since(first));
        let peaks = self.intervals.iter().filter(|percent| **percent >= PEAK_THRESHOLD_PERCENT).count();
        CpuUse {
            host_percent,
            host_peak_percent: self.intervals.iter().copied().reduce(f64::max),
            peak_share: (!self.intervals.is_empty()).then(|| peaks as f64 / self.intervals.len() as f64),
            ..CpuUse::default()
        }
    }
}

impl CpuUse {
    /// Returns the reasons why the cell is overloaded; empty if it is not.
    pub(crate) fn overload_reasons(&self) -> Vec<String> {
        let host = self.host_percent.filter(|percent| *percent > HOST_THRESHOLD_PERCENT);
        let peaks = self.peak_share.filter(|share| *share > MAX_PEAK_SHARE && host.is_none());
        let client = self.client_percent.filter(|percent| *percent > CLIENT_THRESHOLD_PERCENT);
        [
            host.map(|percent| format!("host CPU load {percent:.0}%")),
            peaks.map(|share| {
                format!("host CPU load at least {PEAK_THRESHOLD_PERCENT}% during {:.0}% of the time", share * 100.0)
            }),
            client.map(|percent| format!("client CPU load {percent:.0}%")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[test]
    fn an_overload_names_the_overloaded_host_or_client() {
        let idle = CpuUse {
            host_percent: Some(40.0),
            host_peak_percent: Some(99.0),
            peak_share: Some(0.05),
            server_percent: Some(30.0),
            client_percent: Some(20.0),
        };
        assert!(idle.overload_reasons().is_empty());
        for (cpu, expected) in [
            (CpuUse { host_percent: Some(90.0), ..idle }, "host CPU load 90%"),
            (CpuUse { peak_share: Some(0.2), ..idle }, "host CPU load at least 95% during 20% of the time"),
            (CpuUse { client_percent: Some(97.0), ..idle }, "client CPU load 97%"),
        ] {
            let reasons = cpu.overload_reasons().join("; ");
            assert!(reasons.contains(expected), "{reasons}");
        }
        assert!(CpuUse::default().overload_reasons().is_empty());
    }

    /// Returns readings of `/proc/stat`: the first, and one after each interval of these busy and idle ticks.
    fn readings(intervals: &[(u64, u64)]) -> Vec<Option<CpuTicks>> {
        let (mut busy, mut idle) = (1_000, 5_000);
        let mut reading = |(more_busy, more_idle): (u64, u64)| {
            (busy, idle) = (busy + more_busy, idle + more_idle);
            CpuTicks::parse(&format!("cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 0 0 1 0 0 0 0 0 0\n"))
        };
        std::iter::once((0, 0)).chain(intervals.iter().copied()).map(&mut reading).collect()
    }

    /// Records these readings until their end.
    fn recorded(readings: &[Option<CpuTicks>]) -> CpuWatch {
        let mut watch = CpuWatch::default();
        let (end, mut rest) = (CancellationToken::new(), readings.iter().copied());
        let read = || {
            let reading = rest.next();
            if rest.len() == 0 {
                end.cancel();
            }
            reading.flatten()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let ended = runtime.block_on(end.run_until_cancelled(watch.watch_with(read, Duration::from_millis(1))));
        assert!(ended.is_none(), "it records until it is dropped");
        watch
    }

    #[test]
    fn mean_peak_and_peak_share_are_those_of_the_readings() {
        let readings = readings(&[(10, 90), (96, 4), (50, 50), (100, 0)]);
        let cpu = recorded(&readings[..4]).load_until(readings[4]);
        // The incomplete last interval counts for the mean only.
        assert_eq!(
            (cpu.host_percent, cpu.host_peak_percent, cpu.peak_share),
            (Some(64.0), Some(96.0), Some(1.0 / 3.0))
        );
        assert_eq!(recorded(&readings).load_until(readings[4]).peak_share, Some(0.5));
    }

    #[test]
    fn without_readings_the_load_is_not_known() {
        let mut readings = readings(&[(10, 90), (20, 80), (30, 70)]);
        let cpu = recorded(&readings[..1]).load_until(None);
        assert_eq!(cpu, CpuUse::default());
        // Only the two intervals next to the failed reading are missing.
        readings[1] = None;
        let cpu = recorded(&readings).load_until(readings[3]);
        assert_eq!((cpu.host_percent, cpu.host_peak_percent), (Some(20.0), Some(30.0)));
    }

    #[test]
    fn the_counters_of_this_host_are_read() {
        let mut watch = CpuWatch { first: CpuTicks::now(), ..CpuWatch::default() };
        assert!(watch.first.is_some());
        // If no tick has passed yet, the load is not known.
        assert!(watch.usage().host_percent.is_none_or(|percent| (0.0..=100.0).contains(&percent)));
        watch.first = None;
        assert_eq!(watch.usage(), CpuUse::default());
    }
}
