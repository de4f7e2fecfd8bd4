//! Outcomes of all operations of a set of samples, durations of the successful ones.

use crate::outcome_counts::OutcomeCounts;
use crate::percentile::Sorted;
use crate::sample::{Outcome, Sample};

/// Outcomes and durations of a set of samples.
///
/// Durations are those of `ok` samples only: a refused connection is quick and a timeout has its configured length, so
/// including them would measure settings instead of the network. Errors are in `counts`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Measures {
    /// Outcomes of all operations.
    pub counts: OutcomeCounts,
    /// `latency_ms` of `ok` samples.
    pub latency_ms: Sorted,
    /// `rtt_ms` of `ok` samples that have one.
    pub rtt_ms: Sorted,
    /// `service_ms` of `ok` samples.
    pub service_ms: Sorted,
    /// `server_ms` of `ok` samples that have one.
    pub server_ms: Sorted,
    /// `connect_ms` of `ok` samples that opened a connection.
    pub connect_ms: Sorted,
}

impl<'a> FromIterator<&'a Sample> for Measures {
    fn from_iter<I: IntoIterator<Item = &'a Sample>>(samples: I) -> Self {
        let samples: Vec<&Sample> = samples.into_iter().collect();
        let ok = || samples.iter().filter(|sample| sample.outcome == Outcome::Ok);
        Measures {
            counts: samples.iter().map(|sample| sample.outcome).collect(),
            latency_ms: ok().map(|sample| sample.latency_ms).collect(),
            rtt_ms: ok().filter_map(|sample| sample.rtt_ms).collect(),
            service_ms: ok().map(|sample| sample.service_ms).collect(),
            server_ms: ok().filter_map(|sample| sample.server_ms).collect(),
            connect_ms: ok().filter_map(|sample| sample.connect_ms).collect(),
        }
    }
}
