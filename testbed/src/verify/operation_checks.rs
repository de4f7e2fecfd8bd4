//! Errors on a link that loses nothing: they have another cause than the condition. Pure.

use std::time::Duration;

use model::Condition;
use model::sample::{Outcome, Sample};

use crate::scenario::Workload;

/// Operations that may fail on a link that loses nothing, as a share of all.
const MAX_SHARE: f64 = 0.001;

/// What failed operations ended in, and what is likely behind it.
const CAUSES: [(Outcome, &str, &str); 4] = [
    (
        Outcome::ConnectFailed,
        "could not connect",
        "the host's neighbour or connection tracking table is full (see the kernel's log), or local ports ran out",
    ),
    (Outcome::Timeout, "got no response in time", "the server is overloaded, or something else drops packets"),
    (Outcome::Reset, "lost their connection", "the server closed connections (see logs/server.log)"),
    (Outcome::Protocol, "got a response that is none", "client and server are of different builds"),
];

/// Why a cell whose condition loses nothing is in doubt; `None` when no more than [`MAX_SHARE`] of its operations failed, or
/// the condition explains failures: by a loss, by a queue that may overflow, or by a delay near the workload's timeouts.
pub(crate) fn without_loss(requested: &Condition, workload: &Workload, samples: &[Sample]) -> Option<String> {
    let longest = requested.delay.as_duration() + requested.jitter.as_duration();
    let shortest: Duration = workload.request_timeout.as_duration().min(workload.connect_timeout.as_duration());
    let may_lose = requested.loss.fraction() > 0.0 || requested.rate.is_some() || requested.queue_limit.is_some();
    if may_lose || 2 * longest > shortest {
        return None;
    }
    let count = |outcome: Outcome| samples.iter().filter(|sample| sample.outcome == outcome).count();
    let counted = CAUSES.map(|(outcome, what, why)| (count(outcome), what, why));
    let failed: usize = counted.iter().map(|(count, ..)| count).sum();
    if failed as f64 <= MAX_SHARE * samples.len() as f64 {
        return None;
    }
    let told = counted.iter().filter(|(count, ..)| *count > 0);
    let told: Vec<String> = told.map(|(count, what, why)| format!("{count} {what} (likely: {why})")).collect();
    Some(format!(
        "errors: {failed} of {} operations failed on a link that loses nothing (at most {}%): {}",
        samples.len(),
        MAX_SHARE * 100.0,
        told.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    fn samples(failed: usize, outcome: Outcome) -> Vec<Sample> {
        let of = |outcome| move |_| Sample::tried("login", outcome, 1.0);
        (0..failed).map(of(outcome)).chain((failed..1_000).map(of(Outcome::Ok))).collect()
    }

    #[test]
    fn more_than_one_error_in_a_thousand_needs_a_condition_that_explains_it() {
        let workload = Scenario::load("default").unwrap().workload;
        let told =
            |json: &str, samples: &[Sample]| without_loss(&serde_json::from_str(json).unwrap(), &workload, samples);
        for json in ["{}", r#"{"delay":"100ms","jitter":"20ms"}"#] {
            assert_eq!(told(json, &samples(1, Outcome::Reset)), None, "{json}");
            let words = told(json, &samples(88, Outcome::ConnectFailed)).unwrap();
            assert!(words.contains("88 of 1000 operations failed") && words.contains("neighbour"), "{words}");
            assert!(told(json, &samples(2, Outcome::Timeout)).is_some(), "{json}");
            // The shop's own refusals are answers.
            assert_eq!(told(json, &samples(500, Outcome::Refused)), None, "{json}");
        }
        for json in [r#"{"loss":"1%"}"#, r#"{"rate":"1Mbit"}"#, r#"{"delay":"6s"}"#] {
            assert_eq!(told(json, &samples(88, Outcome::Timeout)), None, "{json}");
        }
        assert_eq!(told("{}", &[]), None);
    }
}
