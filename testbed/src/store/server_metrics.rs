//! The shop's metrics around the workload of a cell: what changed is kept in the results directory.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Serialize;

/// Samples of one scrape, by name with labels.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ServerMetrics(BTreeMap<String, f64>);

/// Row of `metrics/<cell>.csv`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct MetricRow {
    /// Name of the metric with its labels, as in Prometheus' text format.
    metric: String,
    /// Increase of a counter during the workload; value of a gauge at its end.
    value: f64,
}

/// Ends of the names of counters, and of the parts of histograms.
const COUNTER_SUFFIXES: [&str; 4] = ["_total", "_count", "_sum", "_bucket"];

impl ServerMetrics {
    /// Parses Prometheus text (<https://prometheus.io/docs/instrumenting/exposition_formats>), without timestamps.
    ///
    /// # Errors
    /// A line is not a comment and has no number at its end.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples = lines.map(|line| {
            let (metric, value) = line.rsplit_once(' ').with_context(|| format!("invalid metric '{line}'"))?;
            Ok((metric.to_owned(), value.parse().with_context(|| format!("invalid value in '{line}'"))?))
        });
        Ok(Self(samples.collect::<anyhow::Result<_>>()?))
    }

    /// Returns what changed since `before`: counters that have increased, and all gauges.
    pub(crate) fn since(&self, before: &Self) -> Vec<MetricRow> {
        let rows = self.0.iter().filter_map(|(metric, value)| {
            let name = metric.split('{').next().unwrap_or(metric);
            let is_counter = COUNTER_SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
            let value = if is_counter { value - before.0.get(metric).unwrap_or(&0.0) } else { *value };
            (!is_counter || value != 0.0).then(|| MetricRow { metric: metric.clone(), value })
        });
        rows.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_their_increase_and_gauges_their_value() {
        let before = "# HELP a_total x\na_total{c=\"1 2\"} 3\nb_sum 0.5\nlength 7\nsame_total 1\n";
        let after = "a_total{c=\"1 2\"} 5\nb_sum 2.5\nlength 4\nsame_total 1\nnew_bucket{le=\"+Inf\"} 1\n";
        let rows = ServerMetrics::parse(after).unwrap().since(&ServerMetrics::parse(before).unwrap());
        let rows: Vec<_> = rows.iter().map(|row| (row.metric.as_str(), row.value)).collect();
        assert_eq!(
            rows,
            [("a_total{c=\"1 2\"}", 2.0), ("b_sum", 2.0), ("length", 4.0), ("new_bucket{le=\"+Inf\"}", 1.0)]
        );
        for invalid in ["alone", "a_total x"] {
            let error = ServerMetrics::parse(invalid).unwrap_err().to_string();
            assert!(error.contains(invalid), "{error}");
        }
    }
}
