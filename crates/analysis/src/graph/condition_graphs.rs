//! The graphs of a swept parameter: builds charts from the statistics of its values.

use model::SweptParameter;

use crate::condition_label;
use crate::condition_label::BASELINE;
use crate::confidence_interval::{Estimate, MIN_REPETITIONS, MissingInterval};
use crate::graph::axis::Axis;
use crate::graph::ecdf_curves::{Curve, EcdfChart};
use crate::graph::error_bars::ErrorChart;
use crate::graph::font::Fonts;
use crate::graph::legend::Entry;
use crate::graph::line_chart::{LineChart, Series, Spread};
use crate::graph::marker::Marker;
use crate::graph::page;
use crate::graph::page::page;
use crate::graph::palette;
use crate::graph::palette::{BLUE, GREEN, PURPLE, VERMILLION};
use crate::graph::plot_area::Category;
use crate::graph::run_title::RunTitle;
use crate::graph::scene::{MarkerFill, Scene, Stroke};
use crate::metric::Metric;
use crate::pooled_condition::PooledCondition;
use crate::pooled_statistics::PooledStatistics;
use crate::run_statistics::{RunStatistics, Sweep};
use crate::statistic::Statistic;

const LATENCY: &str = "Latency of an operation (ms)";
const RTT: &str = "RTT of a request (ms)";
const ECDF_Y: &str = "Successful operations (%)";

/// Lays out the five graphs of `sweep`, each with its name.
pub(crate) fn scenes(fonts: Fonts, run: &RunStatistics, sweep: &Sweep, title: &RunTitle) -> Vec<(String, Scene)> {
    let name = sweep.parameter;
    let shown = run.with_baseline(sweep);
    let footer = page::footer(title, &shown, run.unlisted_samples);
    let empty_page = |topic: &str, entries: &[Entry]| {
        page(fonts, page::SINGLE_PLOT, &format!("{}: {topic}", condition_label::title(name)), entries, &footer)
    };
    let lines = |topic: &str, chart: LineChart| {
        let (mut scene, area) = empty_page(topic, &chart.entries());
        let y = Axis::covering(chart.values());
        chart.draw(&mut scene, fonts, area, page::SIZES, y);
        scene
    };
    let overall = |metric, y_name| overall(run, sweep, metric, y_name);
    let ecdf = ecdf(&shown);
    let (mut ecdf_scene, area) = empty_page("distribution of latency", &ecdf.entries());
    ecdf.draw(&mut ecdf_scene, fonts, area, page::SIZES);
    let errors = errors_by_outcome(name, &shown);
    let (mut error_scene, area) = empty_page("failed operations", &errors.entries());
    errors.draw(&mut error_scene, fonts, area, page::SIZES);
    vec![
        (format!("{name}-latency-by-operation"), lines("latency by operation", by_operation(run, sweep))),
        (format!("{name}-latency"), lines("latency of all operations", overall(Metric::Latency, LATENCY))),
        (format!("{name}-rtt"), lines("RTT of all requests", overall(Metric::Rtt, RTT))),
        (format!("{name}-ecdf"), ecdf_scene),
        (format!("{name}-errors"), error_scene),
    ]
}

/// Returns all operations of the run, by name. The position gives an operation the same colour in every graph.
pub(crate) fn operations(run: &RunStatistics) -> Vec<String> {
    let mut names: Vec<String> = run.pooled().flat_map(|pooled| pooled.by_operation.keys().cloned()).collect();
    names.sort();
    names.dedup();
    names
}

/// Returns the meaning of whiskers in all graphs of a run: confidence intervals if any value has enough repetitions.
fn spread(run: &RunStatistics) -> Spread {
    let mut values = run.sweeps.iter().flat_map(|sweep| &sweep.values);
    if values.any(|pooled| pooled.cells >= MIN_REPETITIONS) { Spread::ConfidenceInterval } else { Spread::UpToP95 }
}

/// Builds the chart of the median latency of each operation, with confidence intervals or whiskers up to p95.
pub(crate) fn by_operation(run: &RunStatistics, sweep: &Sweep) -> LineChart {
    let (name, shown) = (sweep.parameter, run.with_baseline(sweep));
    let spread = spread(run);
    let series = operations(run).into_iter().enumerate().map(|(index, operation)| {
        let latency =
            |pooled: &PooledStatistics, statistic| pooled.operation(&operation)?.reliable(Metric::Latency, statistic);
        let whisker = |pooled: &&PooledStatistics| match spread {
            Spread::UpToP95 => latency(pooled, Statistic::P50).zip(latency(pooled, Statistic::P95)),
            Spread::ConfidenceInterval => {
                interval(pooled.operation(&operation)?.estimate(Metric::Latency, Statistic::P50))
            }
        };
        Series {
            name: operation.replace('_', " "),
            stroke: Stroke::solid(palette::series(index), 2.0),
            marker: Marker::series(index),
            points: shown.iter().map(|pooled| latency(pooled, Statistic::P50)).collect(),
            whiskers: shown.iter().map(whisker).collect(),
        }
    });
    LineChart {
        categories: categories(&shown),
        x_name: condition_label::axis_name(name),
        y_name: "Median latency of an operation (ms)".to_owned(),
        series: series.filter(|series| series.points.iter().any(Option::is_some)).collect(),
        spread,
        empty: empty(&shown),
    }
}

/// Returns the bounds of a confidence interval, infinity for no upper bound.
fn interval(estimate: &Estimate) -> Option<(f64, f64)> {
    match estimate.interval {
        Ok(interval) => Some((interval.low, interval.high)),
        Err(MissingInterval::Unbounded { low }) => Some((low, f64::INFINITY)),
        Err(_) => None,
    }
}

/// Returns the text for a chart of medians without points.
fn empty(values: &[&PooledStatistics]) -> &'static str {
    let succeeded = values.iter().any(|pooled| !pooled.latency_ms.is_empty());
    if succeeded { "too few operations for a median" } else { "no successful operations" }
}

/// Builds the chart of median, mean, p95 and p99 of one metric, each unless undersampled, with confidence intervals if
/// available.
fn overall(run: &RunStatistics, sweep: &Sweep, metric: Metric, y_name: &str) -> LineChart {
    let (name, shown) = (sweep.parameter, run.with_baseline(sweep));
    let spread = spread(run);
    let series = |statistic: Statistic, stroke: Stroke, marker: Marker| Series {
        name: series_name(statistic, shown.iter().map(|pooled| pooled.all.n(metric))),
        stroke,
        marker,
        points: shown.iter().map(|pooled| pooled.all.reliable(metric, statistic)).collect(),
        whiskers: match spread {
            Spread::UpToP95 => Vec::new(),
            Spread::ConfidenceInterval => {
                shown.iter().map(|pooled| interval(pooled.all.estimate(metric, statistic))).collect()
            }
        },
    };
    LineChart {
        categories: categories(&shown),
        x_name: condition_label::axis_name(name),
        y_name: y_name.to_owned(),
        series: vec![
            series(Statistic::P50, Stroke::solid(BLUE, 2.5), Marker::Circle),
            series(Statistic::Mean, Stroke::dashed(GREEN, 2.0), Marker::Square),
            series(Statistic::P95, Stroke::solid(VERMILLION, 2.0), Marker::TriangleUp),
            series(Statistic::P99, Stroke::dashed(PURPLE, 2.0), Marker::Diamond),
        ],
        spread,
        empty: empty(&shown),
    }
}

/// Returns the name of a statistic, with its minimum number of samples if a value is undersampled.
fn series_name(statistic: Statistic, mut n: impl Iterator<Item = usize>) -> String {
    let name = if statistic == Statistic::P50 { "median" } else { statistic.name() };
    let undersampled = n.any(|n| n > 0 && statistic.is_undersampled(n));
    if undersampled { format!("{name} (where n ≥ {})", statistic.min_samples()) } else { name.to_owned() }
}

/// Builds the chart of distributions, one curve per value.
pub(crate) fn ecdf<'a>(values: &[&'a PooledStatistics]) -> EcdfChart<'a> {
    let curves = values.iter().enumerate().map(|(index, pooled)| Curve {
        name: curve_name(pooled),
        stroke: if pooled.is_baseline {
            Stroke::dashed(palette::BLACK, 2.0)
        } else {
            Stroke::solid(palette::series(index), 2.0)
        },
        marker: Marker::series(index),
        fill: if pooled.is_reliable() { MarkerFill::Solid } else { MarkerFill::Open },
        values: &pooled.latency_ms,
    });
    EcdfChart { x_name: LATENCY.to_owned(), y_name: ECDF_Y.to_owned(), curves: curves.collect() }
}

fn errors_by_outcome(name: SweptParameter, values: &[&PooledStatistics]) -> ErrorChart {
    ErrorChart {
        categories: categories(values),
        x_name: condition_label::axis_name(name),
        counts: values.iter().map(|pooled| pooled.all.counts).collect(),
    }
}

fn curve_name(pooled: &PooledStatistics) -> String {
    let value = match &pooled.condition {
        PooledCondition::Baseline => BASELINE.to_owned(),
        PooledCondition::Value(parameter, value) => match condition_label::unit(*parameter) {
            Some(unit) => format!("{} {unit}", pooled.magnitude),
            None => value.clone(),
        },
    };
    let is_swept_baseline = pooled.condition != PooledCondition::Baseline && pooled.is_baseline;
    // A legend has no space for more than two; the table lists them all.
    let issues = match pooled.issues().as_slice() {
        few @ ([] | [_] | [_, _]) => few.to_vec(),
        many => vec![format!("{} issues", many.len())],
    };
    let notes: Vec<String> = is_swept_baseline.then(|| BASELINE.to_owned()).into_iter().chain(issues).collect();
    if notes.is_empty() { value } else { format!("{value} ({})", notes.join(", ")) }
}

pub(crate) fn categories(values: &[&PooledStatistics]) -> Vec<Category> {
    let label = |pooled: &PooledStatistics| match &pooled.condition {
        PooledCondition::Baseline => BASELINE.to_owned(),
        PooledCondition::Value(parameter, _) if condition_label::unit(*parameter).is_some() => {
            pooled.magnitude.to_string()
        }
        PooledCondition::Value(_, value) => value.clone(),
    };
    values.iter().map(|pooled| Category { label: label(pooled), issues: pooled.issues() }).collect()
}
