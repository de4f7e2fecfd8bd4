//! The graphs of a condition: builds charts from pooled samples.

use crate::condition_label;
use crate::confidence_interval::{MIN_REPETITIONS, MissingInterval};
use crate::distribution::Distribution;
use crate::graph::RunTitle;
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
use crate::graph::scene::{MarkerFill, Scene, Stroke};
use crate::metric::Metric;
use crate::pooled_samples::{PooledSamples, RunSamples, SweepSamples};
use crate::statistic::Statistic;
use crate::summary::ALL_OPERATIONS;

const LATENCY: &str = "Latency of an operation (ms)";
const RTT: &str = "RTT of a request (ms)";
const ECDF_Y: &str = "Successful operations (%)";

/// Lays out the five graphs of `condition`, each with its name.
pub(crate) fn scenes(
    fonts: Fonts,
    run: &RunSamples,
    condition: &SweepSamples,
    title: &RunTitle,
    seed: u64,
) -> Vec<(String, Scene)> {
    let name = &condition.condition;
    let shown = run.with_baseline(condition);
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
    let overall = |metric, y_name| overall(run, condition, metric, y_name, seed);
    let ecdf = ecdf(&shown);
    let (mut ecdf_scene, area) = empty_page("distribution of latency", &ecdf.entries());
    ecdf.draw(&mut ecdf_scene, fonts, area, page::SIZES);
    let errors = errors_by_outcome(name, &shown);
    let (mut error_scene, area) = empty_page("failed operations", &errors.entries());
    errors.draw(&mut error_scene, fonts, area, page::SIZES);
    vec![
        (format!("{name}-latency-by-operation"), lines("latency by operation", by_operation(run, condition, seed))),
        (format!("{name}-latency"), lines("latency of all operations", overall(Metric::Latency, LATENCY))),
        (format!("{name}-rtt"), lines("RTT of all requests", overall(Metric::Rtt, RTT))),
        (format!("{name}-ecdf"), ecdf_scene),
        (format!("{name}-errors"), error_scene),
    ]
}

/// Returns all operations of the run, by name. The position gives an operation the same colour in every graph.
pub(crate) fn operations(run: &RunSamples) -> Vec<String> {
    let swept = run.conditions.iter().flat_map(|condition| &condition.values);
    let mut names: Vec<String> =
        swept.chain(&run.baseline).flat_map(|pooled| pooled.by_operation.keys().cloned()).collect();
    names.sort();
    names.dedup();
    names
}

/// Returns the meaning of whiskers in all graphs of a run: confidence intervals if any value has enough repetitions.
fn spread(run: &RunSamples) -> Spread {
    let repeated =
        |pooled: &PooledSamples| pooled.condition != condition_label::BASELINE && pooled.cells >= MIN_REPETITIONS;
    if run.all().any(repeated) { Spread::ConfidenceInterval } else { Spread::UpToP95 }
}

/// Builds the chart of the median latency of each operation, with confidence intervals or whiskers up to p95.
pub(crate) fn by_operation(run: &RunSamples, condition: &SweepSamples, seed: u64) -> LineChart {
    let (name, shown) = (&condition.condition, run.with_baseline(condition));
    let spread = spread(run);
    let series = operations(run).into_iter().enumerate().map(|(index, operation)| {
        let distribution = |pooled: &&PooledSamples| {
            pooled.group(&operation).map(|group| Distribution::of(&group.pooled.latency_ms)).unwrap_or_default()
        };
        let whisker = |pooled: &&PooledSamples| match spread {
            Spread::UpToP95 => {
                distribution(pooled).reliable(Statistic::P50).zip(distribution(pooled).reliable(Statistic::P95))
            }
            Spread::ConfidenceInterval => interval(pooled, &operation, Metric::Latency, Statistic::P50, seed),
        };
        Series {
            name: operation.replace('_', " "),
            stroke: Stroke::solid(palette::series(index), 2.0),
            marker: Marker::series(index),
            points: shown.iter().map(|pooled| distribution(pooled).reliable(Statistic::P50)).collect(),
            whiskers: shown.iter().map(whisker).collect(),
        }
    });
    LineChart {
        categories: categories(name, &shown),
        x_name: condition_label::axis_name(name),
        y_name: "Median latency of an operation (ms)".to_owned(),
        series: series.filter(|series| series.points.iter().any(Option::is_some)).collect(),
        spread,
        empty: empty(&shown),
    }
}

/// Returns the bounds of a confidence interval, infinity for no upper bound.
fn interval(
    pooled: &PooledSamples,
    operation: &str,
    metric: Metric,
    statistic: Statistic,
    seed: u64,
) -> Option<(f64, f64)> {
    match pooled.estimate(operation, metric, statistic, seed)?.interval {
        Ok(interval) => Some((interval.low, interval.high)),
        Err(MissingInterval::Unbounded { low }) => Some((low, f64::INFINITY)),
        Err(_) => None,
    }
}

/// Returns the text for a chart of medians without points.
fn empty(values: &[&PooledSamples]) -> &'static str {
    let succeeded = values.iter().any(|pooled| !pooled.all.pooled.latency_ms.is_empty());
    if succeeded { "too few operations for a median" } else { "no successful operations" }
}

/// Builds the chart of median, mean, p95 and p99 of one metric, each unless undersampled, with confidence intervals if
/// available.
fn overall(run: &RunSamples, condition: &SweepSamples, metric: Metric, y_name: &str, seed: u64) -> LineChart {
    let (name, shown) = (&condition.condition, run.with_baseline(condition));
    let distributions: Vec<Distribution> =
        shown.iter().map(|pooled| Distribution::of(metric.of(&pooled.all.pooled))).collect();
    let spread = spread(run);
    let series = |statistic: Statistic, stroke: Stroke, marker: Marker| Series {
        name: series_name(statistic, &distributions),
        stroke,
        marker,
        points: distributions.iter().map(|distribution| distribution.reliable(statistic)).collect(),
        whiskers: match spread {
            Spread::UpToP95 => Vec::new(),
            Spread::ConfidenceInterval => {
                shown.iter().map(|pooled| interval(pooled, ALL_OPERATIONS, metric, statistic, seed)).collect()
            }
        },
    };
    LineChart {
        categories: categories(name, &shown),
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
fn series_name(statistic: Statistic, distributions: &[Distribution]) -> String {
    let name = if statistic == Statistic::P50 { "median" } else { statistic.as_str() };
    let undersampled = distributions.iter().any(|one| one.n > 0 && statistic.is_undersampled(one.n));
    if undersampled { format!("{name} (where n ≥ {})", statistic.min_samples()) } else { name.to_owned() }
}

/// Builds the chart of distributions, one curve per value.
pub(crate) fn ecdf(values: &[&PooledSamples]) -> EcdfChart {
    let curves = values.iter().enumerate().map(|(index, pooled)| Curve {
        name: curve_name(pooled),
        stroke: if pooled.baseline {
            Stroke::dashed(palette::BLACK, 2.0)
        } else {
            Stroke::solid(palette::series(index), 2.0)
        },
        marker: Marker::series(index),
        fill: if pooled.is_reliable() { MarkerFill::Solid } else { MarkerFill::Open },
        values: pooled.all.pooled.latency_ms.clone(),
    });
    EcdfChart { x_name: LATENCY.to_owned(), y_name: ECDF_Y.to_owned(), curves: curves.collect() }
}

fn errors_by_outcome(name: &str, values: &[&PooledSamples]) -> ErrorChart {
    ErrorChart {
        categories: categories(name, values),
        x_name: condition_label::axis_name(name),
        counts: values.iter().map(|pooled| pooled.all.pooled.counts).collect(),
    }
}

fn curve_name(pooled: &PooledSamples) -> String {
    let value = match (pooled.condition.as_str(), condition_label::unit(&pooled.condition)) {
        (condition_label::BASELINE, _) => "baseline".to_owned(),
        (_, Some(unit)) => format!("{} {unit}", pooled.magnitude),
        (_, None) => pooled.value.clone(),
    };
    let is_swept_baseline = pooled.condition != condition_label::BASELINE && pooled.baseline;
    // A legend has no space for more than two; the table lists them all.
    let issues = match pooled.issues().as_slice() {
        few @ ([] | [_] | [_, _]) => few.to_vec(),
        many => vec![format!("{} issues", many.len())],
    };
    let notes: Vec<String> = is_swept_baseline.then(|| "baseline".to_owned()).into_iter().chain(issues).collect();
    if notes.is_empty() { value } else { format!("{value} ({})", notes.join(", ")) }
}

pub(crate) fn categories(name: &str, values: &[&PooledSamples]) -> Vec<Category> {
    let label =
        |pooled: &PooledSamples| match (pooled.condition == condition_label::BASELINE, condition_label::unit(name)) {
            (true, _) => "baseline".to_owned(),
            (false, Some(_)) => pooled.magnitude.to_string(),
            (false, None) => pooled.value.clone(),
        };
    values.iter().map(|pooled| Category { label: label(pooled), issues: pooled.issues() }).collect()
}
