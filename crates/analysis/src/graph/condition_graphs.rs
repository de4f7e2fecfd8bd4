//! From pools to charts: what each graph of a condition is about.

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
const SHARE: &str = "Successful operations (%)";

/// The five graphs of what was measured under `condition`, each with its name.
pub(crate) fn scenes(
    fonts: Fonts,
    values: &RunSamples,
    condition: &SweepSamples,
    title: &RunTitle,
    seed: u64,
) -> Vec<(String, Scene)> {
    let name = &condition.condition;
    let shown = values.with_baseline(condition);
    let footer = page::footer(title, &shown, values.unlisted_samples);
    let empty_page = |what: &str, entries: &[Entry]| {
        page(fonts, page::SINGLE, &format!("{}: {what}", condition_label::title(name)), entries, &footer)
    };
    let lines = |what: &str, chart: LineChart| {
        let (mut scene, room) = empty_page(what, &chart.entries());
        let y = Axis::covering(chart.values());
        chart.draw(&mut scene, fonts, room, page::SIZES, y);
        scene
    };
    let overall = |metric, y_name| overall(values, condition, metric, y_name, seed);
    let ecdf = ecdf(&shown);
    let (mut ecdf_scene, room) = empty_page("distribution of latency", &ecdf.entries());
    ecdf.draw(&mut ecdf_scene, fonts, room, page::SIZES);
    let errors = errors_by_outcome(name, &shown);
    let (mut error_scene, room) = empty_page("operations that failed", &errors.entries());
    errors.draw(&mut error_scene, fonts, room, page::SIZES);
    vec![
        (format!("{name}-latency-by-operation"), lines("latency by operation", by_operation(values, condition, seed))),
        (format!("{name}-latency"), lines("latency of all operations", overall(Metric::Latency, LATENCY))),
        (format!("{name}-rtt"), lines("RTT of all requests", overall(Metric::Rtt, RTT))),
        (format!("{name}-ecdf"), ecdf_scene),
        (format!("{name}-errors"), error_scene),
    ]
}

/// All operation of the run, by name. Its place here gives an operation the same colour in every graph.
pub(crate) fn operations(values: &RunSamples) -> Vec<String> {
    let varied = values.conditions.iter().flat_map(|condition| &condition.values);
    let mut names: Vec<String> =
        varied.chain(&values.baseline).flat_map(|pool| pool.by_operation.keys().cloned()).collect();
    names.sort();
    names.dedup();
    names
}

/// What whiskers show in all graphs of a run: intervals where some value has enough repetitions for one.
fn spread(values: &RunSamples) -> Spread {
    let repeated = |pool: &PooledSamples| pool.condition != condition_label::BASELINE && pool.cells >= MIN_REPETITIONS;
    if values.all().any(repeated) { Spread::ConfidenceInterval } else { Spread::UpToP95 }
}

/// Median latency of each operation: with its interval, or with whiskers up to p95.
pub(crate) fn by_operation(values: &RunSamples, condition: &SweepSamples, seed: u64) -> LineChart {
    let (name, shown) = (&condition.condition, values.with_baseline(condition));
    let spread = spread(values);
    let series = operations(values).into_iter().enumerate().map(|(index, operation)| {
        let told = |pool: &&PooledSamples| {
            pool.group(&operation).map(|group| Distribution::of(&group.pooled.latency_ms)).unwrap_or_default()
        };
        let whisker = |pool: &&PooledSamples| match spread {
            Spread::UpToP95 => told(pool).reliable(Statistic::P50).zip(told(pool).reliable(Statistic::P95)),
            Spread::ConfidenceInterval => interval(pool, &operation, Metric::Latency, Statistic::P50, seed),
        };
        Series {
            name: operation.replace('_', " "),
            stroke: Stroke::reliable(palette::series(index), 2.0),
            marker: Marker::series(index),
            points: shown.iter().map(|pool| told(pool).reliable(Statistic::P50)).collect(),
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

/// The ends of an interval; the upper one is infinite where it is open.
fn interval(
    pool: &PooledSamples,
    operation: &str,
    metric: Metric,
    statistic: Statistic,
    seed: u64,
) -> Option<(f64, f64)> {
    match pool.estimate(operation, metric, statistic, seed)?.interval {
        Ok(interval) => Some((interval.low, interval.high)),
        Err(MissingInterval::Unbounded { low }) => Some((low, f64::INFINITY)),
        Err(_) => None,
    }
}

/// Why a chart of medians may have no point.
fn empty(values: &[&PooledSamples]) -> &'static str {
    let succeeded = values.iter().any(|pool| !pool.all.pooled.latency_ms.is_empty());
    if succeeded { "too few operations for a median" } else { "no operation succeeded" }
}

/// Median, mean, p95 and p99 of one kind of duration, each where it stands on enough values; with intervals where there
/// are any.
fn overall(values: &RunSamples, condition: &SweepSamples, metric: Metric, y_name: &str, seed: u64) -> LineChart {
    let (name, shown) = (&condition.condition, values.with_baseline(condition));
    let told: Vec<Distribution> = shown.iter().map(|pool| Distribution::of(metric.of(&pool.all.pooled))).collect();
    let spread = spread(values);
    let series = |statistic: Statistic, stroke: Stroke, marker: Marker| Series {
        name: series_name(statistic, &told),
        stroke,
        marker,
        points: told.iter().map(|told| told.reliable(statistic)).collect(),
        whiskers: match spread {
            Spread::UpToP95 => Vec::new(),
            Spread::ConfidenceInterval => {
                shown.iter().map(|pool| interval(pool, ALL_OPERATIONS, metric, statistic, seed)).collect()
            }
        },
    };
    LineChart {
        categories: categories(name, &shown),
        x_name: condition_label::axis_name(name),
        y_name: y_name.to_owned(),
        series: vec![
            series(Statistic::P50, Stroke::reliable(BLUE, 2.5), Marker::Circle),
            series(Statistic::Mean, Stroke::dashed(GREEN, 2.0), Marker::Square),
            series(Statistic::P95, Stroke::reliable(VERMILLION, 2.0), Marker::TriangleUp),
            series(Statistic::P99, Stroke::dashed(PURPLE, 2.0), Marker::Diamond),
        ],
        spread,
        empty: empty(&shown),
    }
}

/// A statistic's name, and what it needs where some value has too few.
fn series_name(statistic: Statistic, told: &[Distribution]) -> String {
    let name = if statistic == Statistic::P50 { "median" } else { statistic.as_str() };
    let undersampled = told.iter().any(|told| told.n > 0 && statistic.is_undersampled(told.n));
    if undersampled { format!("{name} (where n ≥ {})", statistic.min_samples()) } else { name.to_owned() }
}

/// One curve for each value.
pub(crate) fn ecdf(values: &[&PooledSamples]) -> EcdfChart {
    let curves = values.iter().enumerate().map(|(index, pool)| Curve {
        name: curve_name(pool),
        stroke: if pool.baseline {
            Stroke::dashed(palette::BLACK, 2.0)
        } else {
            Stroke::reliable(palette::series(index), 2.0)
        },
        marker: Marker::series(index),
        fill: if pool.is_reliable() { MarkerFill::Solid } else { MarkerFill::Open },
        values: pool.all.pooled.latency_ms.clone(),
    });
    EcdfChart { x_name: LATENCY.to_owned(), y_name: SHARE.to_owned(), curves: curves.collect() }
}

fn errors_by_outcome(name: &str, values: &[&PooledSamples]) -> ErrorChart {
    ErrorChart {
        categories: categories(name, values),
        x_name: condition_label::axis_name(name),
        counts: values.iter().map(|pool| pool.all.pooled.counts).collect(),
    }
}

fn curve_name(pool: &PooledSamples) -> String {
    let value = match (pool.condition.as_str(), condition_label::unit(&pool.condition)) {
        (condition_label::BASELINE, _) => "baseline".to_owned(),
        (_, Some(unit)) => format!("{} {unit}", pool.magnitude),
        (_, None) => pool.value.clone(),
    };
    let known_as_baseline = pool.condition != condition_label::BASELINE && pool.baseline;
    // A legend has no room for more than two; the table names them all.
    let issues = match pool.issues().as_slice() {
        few @ ([] | [_] | [_, _]) => few.to_vec(),
        many => vec![format!("{} issues", many.len())],
    };
    let notes: Vec<String> = known_as_baseline.then(|| "baseline".to_owned()).into_iter().chain(issues).collect();
    if notes.is_empty() { value } else { format!("{value} ({})", notes.join(", ")) }
}

pub(crate) fn categories(name: &str, values: &[&PooledSamples]) -> Vec<Category> {
    let label = |pool: &PooledSamples| match (pool.condition == condition_label::BASELINE, condition_label::unit(name))
    {
        (true, _) => "baseline".to_owned(),
        (false, Some(_)) => pool.magnitude.to_string(),
        (false, None) => pool.value.clone(),
    };
    values.iter().map(|pool| Category { label: label(pool), issues: pool.issues() }).collect()
}
