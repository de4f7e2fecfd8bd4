//! The rows of `summary.csv`: one per cell and operation, and one for all operations of the cell.

use std::collections::BTreeMap;

use model::Outcome;
use serde::{Deserialize, Serialize};

use crate::dataset::SampledCell;
use crate::distribution::Distribution;
use crate::measures::{ALL_OPERATIONS, Measures};
use crate::metric::Metric;
use crate::statistic::undersampled;

/// Statistics of one operation in one cell, or of all operations in it.
///
/// Durations are milliseconds, of `ok` samples only; failures are counted per outcome. A value that could not be
/// measured is `None`, an empty field in the CSV.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SummaryRow {
    /// The run's id.
    pub run_id: String,
    /// The cell's id.
    pub cell: String,
    /// The swept parameter.
    pub condition: String,
    /// The parameter's value with its unit.
    pub value: String,
    /// Number of the repetition, from 1.
    pub repetition: Option<u32>,
    /// The operation, or `all`.
    pub operation: String,
    /// Number of operations.
    pub n: u64,
    /// … that succeeded.
    pub ok: u64,
    /// … that failed: the sum of the next five.
    pub errors: u64,
    /// … that the shop refused.
    pub refused: u64,
    /// … without a complete response in time.
    pub timeout: u64,
    /// … whose connection could not be opened.
    pub connect_failed: u64,
    /// … whose connection was reset.
    pub reset: u64,
    /// … whose response violated the protocol.
    pub protocol: u64,
    /// Mean latency.
    pub latency_mean_ms: Option<f64>,
    /// Median latency.
    pub latency_p50_ms: Option<f64>,
    /// 95th percentile of the latency.
    pub latency_p95_ms: Option<f64>,
    /// 99th percentile of the latency; see `undersampled`.
    pub latency_p99_ms: Option<f64>,
    /// Largest latency.
    pub latency_max_ms: Option<f64>,
    /// Mean RTT of the requests.
    pub rtt_mean_ms: Option<f64>,
    /// Median RTT of the requests.
    pub rtt_p50_ms: Option<f64>,
    /// 95th percentile of the RTT of the requests.
    pub rtt_p95_ms: Option<f64>,
    /// 99th percentile of the RTT of the requests; see `undersampled`.
    pub rtt_p99_ms: Option<f64>,
    /// Largest RTT of a request.
    pub rtt_max_ms: Option<f64>,
    /// Mean server time.
    pub server_mean_ms: Option<f64>,
    /// Median server time.
    pub server_p50_ms: Option<f64>,
    /// 95th percentile of the server time.
    pub server_p95_ms: Option<f64>,
    /// 99th percentile of the server time; see `undersampled`.
    pub server_p99_ms: Option<f64>,
    /// Largest server time.
    pub server_max_ms: Option<f64>,
    /// Median connect time.
    pub connect_p50_ms: Option<f64>,
    /// Median time of the TLS handshake.
    pub tls_p50_ms: Option<f64>,
    /// The percentiles with fewer `ok` operations than [`crate::Statistic::min_samples`], as in `p95 p99`.
    pub undersampled: String,
}

/// Returns the row for all operations of a cell, then one per operation by name.
pub(crate) fn rows_of_cell(cell: &SampledCell, measures: &BTreeMap<&str, Measures>) -> Vec<SummaryRow> {
    let all = Measures::merged(&measures.values().collect::<Vec<_>>());
    let by_operation = measures.iter().map(|(operation, measures)| row(cell, operation, measures));
    std::iter::once(row(cell, ALL_OPERATIONS, &all)).chain(by_operation).collect()
}

fn row(cell: &SampledCell, operation: &str, measures: &Measures) -> SummaryRow {
    let [latency, rtt, server, connect, tls] =
        [Metric::Latency, Metric::Rtt, Metric::Server, Metric::Connect, Metric::Tls]
            .map(|metric| Distribution::of(measures.of(metric)));
    let counts = measures.counts;
    SummaryRow {
        run_id: cell.run_id.clone(),
        cell: cell.cell.clone(),
        condition: cell.condition.clone(),
        value: cell.value.clone(),
        repetition: cell.repetition,
        operation: operation.to_owned(),
        n: counts.total(),
        ok: counts.of(Outcome::Ok),
        errors: counts.errors(),
        refused: counts.of(Outcome::Refused),
        timeout: counts.of(Outcome::Timeout),
        connect_failed: counts.of(Outcome::ConnectFailed),
        reset: counts.of(Outcome::Reset),
        protocol: counts.of(Outcome::Protocol),
        latency_mean_ms: latency.mean,
        latency_p50_ms: latency.p50,
        latency_p95_ms: latency.p95,
        latency_p99_ms: latency.p99,
        latency_max_ms: latency.max,
        rtt_mean_ms: rtt.mean,
        rtt_p50_ms: rtt.p50,
        rtt_p95_ms: rtt.p95,
        rtt_p99_ms: rtt.p99,
        rtt_max_ms: rtt.max,
        server_mean_ms: server.mean,
        server_p50_ms: server.p50,
        server_p95_ms: server.p95,
        server_p99_ms: server.p99,
        server_max_ms: server.max,
        connect_p50_ms: connect.p50,
        tls_p50_ms: tls.p50,
        undersampled: undersampled(latency.n),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use model::{Labels, Phase, Sample, SampleRow, SweptParameter};

    use super::*;
    use crate::synthetic;

    fn summarise(samples: &[SampleRow]) -> Vec<SummaryRow> {
        synthetic::Run { samples: samples.to_vec(), cells: Vec::new() }.analyse(1).summary().to_vec()
    }

    /// Returns a sample of `cell` in which only the fields that statistics use are set.
    pub(crate) fn sample(cell: &str, operation: &str, outcome: Outcome, latency_ms: f64) -> SampleRow {
        let labels = Labels {
            run_id: "run".to_owned(),
            cell: cell.to_owned(),
            condition: SweptParameter::Loss,
            value: "1%".to_owned(),
            repetition: 1,
        };
        let sample = Sample {
            client: "client-1".to_owned(),
            rtt_ms: (outcome == Outcome::Ok).then_some(latency_ms / 2.0),
            ..Sample::with_latency(operation, outcome, latency_ms)
        };
        SampleRow { labels, sample }
    }

    /// Returns a sample of the warm-up.
    pub(crate) fn warm_up(cell: &str, outcome: Outcome) -> SampleRow {
        let SampleRow { labels, sample } = sample(cell, "login", outcome, 900.0);
        SampleRow { labels, sample: Sample { phase: Phase::WarmUp, ..sample } }
    }

    fn three_and_a_timeout() -> Vec<SampleRow> {
        let mut samples: Vec<SampleRow> =
            [10.0, 30.0, 20.0].map(|latency| sample("a", "login", Outcome::Ok, latency)).to_vec();
        samples.push(sample("a", "login", Outcome::Timeout, 5000.0));
        samples.push(sample("a", "place_order", Outcome::Refused, 1.0));
        samples.push(sample("b", "login", Outcome::Ok, 7.0));
        samples
    }

    #[test]
    fn each_cell_has_a_row_for_all_and_one_for_each_operation() {
        let rows = summarise(&three_and_a_timeout());
        let got: Vec<_> =
            rows.iter().map(|row| (row.cell.as_str(), row.operation.as_str(), row.n, row.errors)).collect();
        let expected = [
            ("a", "all", 5, 2),
            ("a", "login", 4, 1),
            ("a", "place_order", 1, 1),
            ("b", "all", 1, 0),
            ("b", "login", 1, 0),
        ];
        assert_eq!(got, expected);
    }

    #[test]
    fn durations_are_those_of_ok_samples_only() {
        let rows = summarise(&three_and_a_timeout());
        let login = &rows[1];
        assert_eq!(
            (login.latency_mean_ms, login.latency_p50_ms, login.latency_max_ms),
            (Some(20.0), Some(20.0), Some(30.0))
        );
        assert_eq!((login.rtt_p50_ms, login.timeout, login.ok), (Some(10.0), 1, 3));
        assert_eq!(login.undersampled, "p50 p95 p99");
        let order = &rows[2];
        assert_eq!((order.latency_p50_ms, order.latency_max_ms, order.refused), (None, None, 1));
    }

    #[test]
    fn warm_up_is_ignored() {
        let mut samples = three_and_a_timeout();
        let expected = summarise(&samples);
        samples.insert(0, warm_up("a", Outcome::Ok));
        samples.push(warm_up("c", Outcome::Reset));
        assert_eq!(summarise(&samples), expected);
    }

    #[test]
    fn the_csv_has_units_and_empty_fields_for_missing_values() {
        let rows = summarise(&three_and_a_timeout());
        let mut writer = csv::Writer::from_writer(Vec::new());
        rows.iter().for_each(|row| writer.serialize(row).unwrap());
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        assert!(text.starts_with("run_id,cell,condition,value,repetition,operation,n,ok,errors,refused,"), "{text}");
        assert!(text.lines().next().unwrap().contains(",latency_p95_ms,"), "{text}");
        assert!(text.contains(",place_order,1,0,1,1,0,0,0,0,,,,,,,"), "{text}");
        let read: Result<Vec<SummaryRow>, _> = csv::Reader::from_reader(text.as_bytes()).deserialize().collect();
        assert_eq!(read.unwrap(), rows);
    }
}
