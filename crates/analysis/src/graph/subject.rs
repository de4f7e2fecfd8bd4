//! From pools to charts: what each picture of a condition is about.

use super::RunTitle;
use super::axis::Axis;
use super::category::{CategoryChart, Series, Spread};
use super::ecdf_curves::{Curve, EcdfChart};
use super::error_bars::ErrorChart;
use super::font::Fonts;
use super::frame::Category;
use super::legend::Entry;
use super::marker::Marker;
use super::page::{self, page};
use super::palette::{self, BLUE, GREEN, PURPLE, VERMILLION};
use super::scene::{MarkerFill, Scene, Stroke};
use crate::condition;
use crate::distribution::Distribution;
use crate::interval::{MIN_REPETITIONS, NoInterval};
use crate::metric::Metric;
use crate::pool::{ConditionPools, Pool, Pools};
use crate::statistic::Statistic;
use crate::summary::ALL_OPERATIONS;

const LATENCY: &str = "Latency of an operation (ms)";
const RTT: &str = "RTT of a request (ms)";
const SHARE: &str = "Successful operations (%)";

/// The five pictures of what was measured under `condition`, each with its name.
pub(crate) fn scenes(
    fonts: Fonts,
    pools: &Pools,
    condition: &ConditionPools,
    title: &RunTitle,
    seed: u64,
) -> Vec<(String, Scene)> {
    let name = &condition.condition;
    let shown = pools.with_baseline(condition);
    let footer = page::footer(title, &shown, pools.unlisted_samples);
    let empty_page = |what: &str, entries: &[Entry]| {
        page(fonts, page::SINGLE, &format!("{}: {what}", condition::title(name)), entries, &footer)
    };
    let lines = |what: &str, chart: CategoryChart| {
        let (mut scene, room) = empty_page(what, &chart.entries());
        let y = Axis::covering(chart.values());
        chart.draw(&mut scene, fonts, room, page::SIZES, y);
        scene
    };
    let overall = |metric, y_name| overall(pools, condition, metric, y_name, seed);
    let ecdf = ecdf(&shown);
    let (mut ecdf_scene, room) = empty_page("distribution of latency", &ecdf.entries());
    ecdf.draw(&mut ecdf_scene, fonts, room, page::SIZES);
    let errors = errors_by_outcome(name, &shown);
    let (mut error_scene, room) = empty_page("operations that failed", &errors.entries());
    errors.draw(&mut error_scene, fonts, room, page::SIZES);
    vec![
        (format!("{name}-latency-by-operation"), lines("latency by operation", by_operation(pools, condition, seed))),
        (format!("{name}-latency"), lines("latency of all operations", overall(Metric::Latency, LATENCY))),
        (format!("{name}-rtt"), lines("RTT of all requests", overall(Metric::Rtt, RTT))),
        (format!("{name}-ecdf"), ecdf_scene),
        (format!("{name}-errors"), error_scene),
    ]
}

/// Every operation of the run, by name. Its place here gives an operation the same colour in every picture.
pub(crate) fn operations(pools: &Pools) -> Vec<String> {
    let varied = pools.conditions.iter().flat_map(|condition| &condition.pools);
    let mut names: Vec<String> =
        varied.chain(&pools.baseline).flat_map(|pool| pool.by_operation.keys().cloned()).collect();
    names.sort();
    names.dedup();
    names
}

/// What whiskers show in all pictures of a run: intervals where some value has enough repetitions for one.
fn spread(pools: &Pools) -> Spread {
    let repeated = |pool: &Pool| pool.condition != condition::BASELINE && pool.cells >= MIN_REPETITIONS;
    if pools.all().any(repeated) { Spread::Interval } else { Spread::UpToP95 }
}

/// Median latency of each operation: with its interval, or with whiskers up to p95.
pub(crate) fn by_operation(pools: &Pools, condition: &ConditionPools, seed: u64) -> CategoryChart {
    let (name, shown) = (&condition.condition, pools.with_baseline(condition));
    let spread = spread(pools);
    let series = operations(pools).into_iter().enumerate().map(|(index, operation)| {
        let told = |pool: &&Pool| {
            pool.group(&operation).map(|group| Distribution::of(&group.pooled.latency_ms)).unwrap_or_default()
        };
        let whisker = |pool: &&Pool| match spread {
            Spread::UpToP95 => told(pool).solid(Statistic::P50).zip(told(pool).solid(Statistic::P95)),
            Spread::Interval => interval(pool, &operation, Metric::Latency, Statistic::P50, seed),
        };
        Series {
            name: operation.replace('_', " "),
            stroke: Stroke::solid(palette::series(index), 2.0),
            marker: Marker::series(index),
            points: shown.iter().map(|pool| told(pool).solid(Statistic::P50)).collect(),
            whiskers: shown.iter().map(whisker).collect(),
        }
    });
    CategoryChart {
        categories: categories(name, &shown),
        x_name: condition::axis_name(name),
        y_name: "Median latency of an operation (ms)".to_owned(),
        series: series.filter(|series| series.points.iter().any(Option::is_some)).collect(),
        spread,
        empty: empty(&shown),
    }
}

/// The ends of an interval; the upper one is infinite where it is open.
fn interval(pool: &Pool, operation: &str, metric: Metric, statistic: Statistic, seed: u64) -> Option<(f64, f64)> {
    match pool.estimate(operation, metric, statistic, seed)?.interval {
        Ok(interval) => Some((interval.low, interval.high)),
        Err(NoInterval::OpenAbove { low }) => Some((low, f64::INFINITY)),
        Err(_) => None,
    }
}

/// Why a chart of medians may have no point.
fn empty(pools: &[&Pool]) -> &'static str {
    let succeeded = pools.iter().any(|pool| !pool.all.pooled.latency_ms.is_empty());
    if succeeded { "too few operations for a median" } else { "no operation succeeded" }
}

/// Median, mean, p95 and p99 of one kind of duration, each where it stands on enough values; with intervals where there are
/// any.
fn overall(pools: &Pools, condition: &ConditionPools, metric: Metric, y_name: &str, seed: u64) -> CategoryChart {
    let (name, shown) = (&condition.condition, pools.with_baseline(condition));
    let told: Vec<Distribution> = shown.iter().map(|pool| Distribution::of(metric.of(&pool.all.pooled))).collect();
    let spread = spread(pools);
    let series = |statistic: Statistic, stroke: Stroke, marker: Marker| Series {
        name: series_name(statistic, &told),
        stroke,
        marker,
        points: told.iter().map(|told| told.solid(statistic)).collect(),
        whiskers: match spread {
            Spread::UpToP95 => Vec::new(),
            Spread::Interval => {
                shown.iter().map(|pool| interval(pool, ALL_OPERATIONS, metric, statistic, seed)).collect()
            }
        },
    };
    CategoryChart {
        categories: categories(name, &shown),
        x_name: condition::axis_name(name),
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

/// A statistic's name, and what it needs where some value has too few.
fn series_name(statistic: Statistic, told: &[Distribution]) -> String {
    let name = if statistic == Statistic::P50 { "median" } else { statistic.as_str() };
    let thin = told.iter().any(|told| told.n > 0 && statistic.is_thin(told.n));
    if thin { format!("{name} (where n ≥ {})", statistic.needs()) } else { name.to_owned() }
}

/// One curve for each value.
pub(crate) fn ecdf(pools: &[&Pool]) -> EcdfChart {
    let curves = pools.iter().enumerate().map(|(index, pool)| Curve {
        name: curve_name(pool),
        stroke: if pool.baseline {
            Stroke::dashed(palette::BLACK, 2.0)
        } else {
            Stroke::solid(palette::series(index), 2.0)
        },
        marker: Marker::series(index),
        fill: if pool.sound() { MarkerFill::Solid } else { MarkerFill::Open },
        values: pool.all.pooled.latency_ms.clone(),
    });
    EcdfChart { x_name: LATENCY.to_owned(), y_name: SHARE.to_owned(), curves: curves.collect() }
}

fn errors_by_outcome(name: &str, pools: &[&Pool]) -> ErrorChart {
    ErrorChart {
        categories: categories(name, pools),
        x_name: condition::axis_name(name),
        tallies: pools.iter().map(|pool| pool.all.pooled.tally).collect(),
    }
}

fn curve_name(pool: &Pool) -> String {
    let value = match (pool.condition.as_str(), condition::unit(&pool.condition)) {
        (condition::BASELINE, _) => "baseline".to_owned(),
        (_, Some(unit)) => format!("{} {unit}", pool.magnitude),
        (_, None) => pool.value.clone(),
    };
    let known_as_baseline = pool.condition != condition::BASELINE && pool.baseline;
    // A legend has no room for more than two; the table names them all.
    let doubts = match pool.doubts().as_slice() {
        few @ ([] | [_] | [_, _]) => few.to_vec(),
        many => vec![format!("{} doubts", many.len())],
    };
    let remarks: Vec<String> = known_as_baseline.then(|| "baseline".to_owned()).into_iter().chain(doubts).collect();
    if remarks.is_empty() { value } else { format!("{value} ({})", remarks.join(", ")) }
}

pub(crate) fn categories(name: &str, pools: &[&Pool]) -> Vec<Category> {
    let label = |pool: &Pool| match (pool.condition == condition::BASELINE, condition::unit(name)) {
        (true, _) => "baseline".to_owned(),
        (false, Some(_)) => pool.magnitude.to_string(),
        (false, None) => pool.value.clone(),
    };
    pools.iter().map(|pool| Category { label: label(pool), doubts: pool.doubts() }).collect()
}
