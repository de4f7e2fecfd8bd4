//! Checks for failed operations on a link without packet loss: the condition does not explain them. Pure.

use std::time::Duration;

use model::Condition;
use model::sample::{Outcome, Sample};

use model::settings::Workload;

/// Share of operations that may fail on a link without packet loss.
const MAX_FAILED_SHARE: f64 = 0.001;

/// Outcomes of failed operations, their descriptions and likely causes.
const CAUSES: [(Outcome, &str, &str); 4] = [
    (
        Outcome::ConnectFailed,
        "failed to connect",
        "the host's neighbour or connection tracking table is full (see the kernel's log), or local ports ran out",
    ),
    (Outcome::Timeout, "timed out", "the server is overloaded, or packets are dropped outside the emulator"),
    (Outcome::Reset, "had their connection reset", "the server closed connections (see logs/server.log)"),
    (Outcome::Protocol, "received an invalid response", "client and server are different builds"),
];

/// Returns the problem if more than [`MAX_FAILED_SHARE`] of a cell's operations failed and its condition does not
/// explain it. Loss, a queue that may overflow and a delay near the workload's timeouts explain failures.
pub(crate) fn without_loss(requested: &Condition, workload: &Workload, samples: &[Sample]) -> Option<String> {
    let max_delay = requested.delay.as_duration() + requested.jitter.as_duration();
    let min_timeout: Duration = workload.request_timeout.as_duration().min(workload.connect_timeout.as_duration());
    let may_lose = requested.loss.fraction() > 0.0 || requested.rate.is_some() || requested.queue_limit.is_some();
    if may_lose || 2 * max_delay > min_timeout {
        return None;
    }
    let count = |outcome: Outcome| samples.iter().filter(|sample| sample.outcome == outcome).count();
    let counted = CAUSES.map(|(outcome, description, cause)| (count(outcome), description, cause));
    let failed: usize = counted.iter().map(|(count, ..)| count).sum();
    if failed as f64 <= MAX_FAILED_SHARE * samples.len() as f64 {
        return None;
    }
    let failures = counted.iter().filter(|(count, ..)| *count > 0);
    let failures: Vec<String> =
        failures.map(|(count, description, cause)| format!("{count} {description} (likely cause: {cause})")).collect();
    Some(format!(
        "errors: {failed} of {} operations failed on a link without packet loss (threshold {}%): {}",
        samples.len(),
        MAX_FAILED_SHARE * 100.0,
        failures.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    fn samples(failed: usize, outcome: Outcome) -> Vec<Sample> {
        let of = |outcome| move |_| Sample::with_latency("login", outcome, 1.0);
        (0..failed).map(of(outcome)).chain((failed..1_000).map(of(Outcome::Ok))).collect()
    }

    #[test]
    fn more_than_one_error_in_a_thousand_needs_a_condition_that_explains_it() {
        let workload = Scenario::load("default").unwrap().workload;
        let problem =
            |json: &str, samples: &[Sample]| without_loss(&serde_json::from_str(json).unwrap(), &workload, samples);
        for json in ["{}", r#"{"delay":"100ms","jitter":"20ms"}"#] {
            assert_eq!(problem(json, &samples(1, Outcome::Reset)), None, "{json}");
            let text = problem(json, &samples(88, Outcome::ConnectFailed)).unwrap();
            assert!(text.contains("88 of 1000 operations failed") && text.contains("neighbour"), "{text}");
            assert!(problem(json, &samples(2, Outcome::Timeout)).is_some(), "{json}");
            // A refusal by the shop is a response, not a failure.
            assert_eq!(problem(json, &samples(500, Outcome::Refused)), None, "{json}");
        }
        for json in [r#"{"loss":"1%"}"#, r#"{"rate":"1Mbit"}"#, r#"{"delay":"6s"}"#] {
            assert_eq!(problem(json, &samples(88, Outcome::Timeout)), None, "{json}");
        }
        assert_eq!(problem("{}", &[]), None);
    }
}
