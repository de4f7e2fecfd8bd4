//! The overload guard: was the machine so busy in a cell that its numbers show the machine instead of the link?

use std::convert::Infallible;
use std::time::Duration;

use crate::host_info::CpuTicks;

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
        self.watch_with(CpuTicks::now, INTERVAL).await
    }

    /// Takes a reading at the start and after each `interval`.
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

    /// What was seen up to now.
    pub(crate) fn seen(&self) -> CpuUse {
        self.seen_until(CpuTicks::now())
    }

    /// Returns the CPU use from the first reading to `now`, and the peaks of the whole intervals between.
    fn seen_until(&self, now: Option<CpuTicks>) -> CpuUse {
        let host_percent = now.zip(self.first).and_then(|(now, first)| now.percent_since(first));
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
    pub(crate) fn overload_reasons(&self) -> Vec<String> {
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
    use tokio_util::sync::CancellationToken;

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
        assert!(quiet.overload_reasons().is_empty());
        for (seen, expected) in [
            (CpuUse { host_percent: Some(90.0), ..quiet }, "the host was 90% busy"),
            (CpuUse { peak_share: Some(0.2), ..quiet }, "fully busy 20% of the time"),
            (CpuUse { client_percent: Some(97.0), ..quiet }, "a client was 97% busy"),
        ] {
            let words = seen.overload_reasons().join("; ");
            assert!(words.contains(expected), "{words}");
        }
        assert!(CpuUse::default().overload_reasons().is_empty());
    }

    /// Readings of `/proc/stat`, each with the busy and the idle ticks of one more interval.
    fn readings(intervals: &[(u64, u64)]) -> Vec<Option<CpuTicks>> {
        let (mut busy, mut idle) = (1_000, 5_000);
        let mut reading = |(more_busy, more_idle): (u64, u64)| {
            (busy, idle) = (busy + more_busy, idle + more_idle);
            CpuTicks::parse(&format!("cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 0 0 1 0 0 0 0 0 0\n"))
        };
        std::iter::once((0, 0)).chain(intervals.iter().copied()).map(&mut reading).collect()
    }

    /// Watches these readings to their end.
    fn watched(readings: &[Option<CpuTicks>]) -> CpuWatch {
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
        assert!(ended.is_none(), "it watches until it is dropped");
        watch
    }

    #[test]
    fn the_mean_the_peak_and_the_share_of_full_intervals_are_those_of_the_readings() {
        let readings = readings(&[(10, 90), (96, 4), (50, 50), (100, 0)]);
        let seen = watched(&readings[..4]).seen_until(readings[4]);
        // The interval that is not over counts for the mean alone.
        assert_eq!(
            (seen.host_percent, seen.host_peak_percent, seen.peak_share),
            (Some(64.0), Some(96.0), Some(1.0 / 3.0))
        );
        assert_eq!(watched(&readings).seen_until(readings[4]).peak_share, Some(0.5));
    }

    #[test]
    fn what_could_not_be_read_is_not_known() {
        let mut readings = readings(&[(10, 90), (20, 80), (30, 70)]);
        let seen = watched(&readings[..1]).seen_until(None);
        assert_eq!(seen, CpuUse::default());
        // Only the two intervals next to the failed reading are missing.
        readings[1] = None;
        let seen = watched(&readings).seen_until(readings[3]);
        assert_eq!((seen.host_percent, seen.host_peak_percent), (Some(20.0), Some(30.0)));
    }

    #[test]
    fn the_kernel_of_this_host_is_read() {
        let mut watch = CpuWatch { first: CpuTicks::now(), ..CpuWatch::default() };
        assert!(watch.first.is_some());
        // No tick may have passed yet: then the share of none is not known.
        assert!(watch.seen().host_percent.is_none_or(|percent| (0.0..=100.0).contains(&percent)));
        watch.first = None;
        assert_eq!(watch.seen(), CpuUse::default());
    }
}
