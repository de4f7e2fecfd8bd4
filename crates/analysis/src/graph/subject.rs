//! From pools to charts: what each picture of a condition is about.

use super::RunTitle;
use super::axis::Axis;
use super::category::{CategoryChart, Series};
use super::ecdf_curves::{Curve, EcdfChart};
use super::error_bars::ErrorChart;
use super::font::Fonts;
use super::frame::Category;
use super::marker::Marker;
use super::page::{self, page};
use super::palette::{self, BLUE, GREEN, PURPLE, VERMILLION};
use super::scene::{MarkerFill, Scene, Stroke};
use crate::condition;
use crate::distribution::Distribution;
use crate::measures::Measures;
use crate::percentile::Sorted;
use crate::pool::{ConditionPools, Pool, Pools};

const LATENCY: &str = "Latency of an operation (ms)";
const RTT: &str = "RTT of a request (ms)";
const SHARE: &str = "Successful operations (%)";

/// The five pictures of `condition`, each with its name.
pub(crate) fn scenes(
    fonts: Fonts,
    pools: &Pools,
    condition: &ConditionPools,
    title: &RunTitle,
) -> Vec<(String, Scene)> {
    let name = &condition.condition;
    let shown = pools.with_baseline(condition);
    let tried = shown.iter().map(|pool| pool.all.tally.tried()).sum();
    let errors = shown.iter().map(|pool| pool.all.tally.errors()).sum();
    let footer = page::footer(title, tried, errors, pools.unlisted_samples);
    let words = condition::title(name);
    let lines = |what: &str, chart: CategoryChart| {
        let (mut scene, room) = page(fonts, &format!("{words}: {what}"), &chart.entries(), &footer);
        let y = Axis::covering(chart.values());
        chart.draw(&mut scene, fonts, room, page::SIZES, y);
        scene
    };
    let ecdf = ecdf(&shown);
    let (mut ecdf_scene, room) = page(fonts, &format!("{words}: distribution of latency"), &ecdf.entries(), &footer);
    ecdf.draw(&mut ecdf_scene, fonts, room, page::SIZES);
    let errors = errors_by_outcome(name, &shown);
    let (mut error_scene, room) = page(fonts, &format!("{words}: operations that failed"), &errors.entries(), &footer);
    errors.draw(&mut error_scene, fonts, room, page::SIZES);
    vec![
        (
            format!("{name}-latency-by-operation"),
            lines("latency by operation", by_operation(name, &shown, &operations(pools))),
        ),
        (
            format!("{name}-latency"),
            lines("latency of all operations", overall(name, &shown, LATENCY, |all| &all.latency_ms)),
        ),
        (format!("{name}-rtt"), lines("RTT of all requests", overall(name, &shown, RTT, |all| &all.rtt_ms))),
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

/// Median latency of each operation, with whiskers up to p95.
pub(crate) fn by_operation(name: &str, pools: &[&Pool], operations: &[String]) -> CategoryChart {
    let series = operations.iter().enumerate().map(|(index, operation)| {
        let of = |pool: &&Pool| pool.by_operation.get(operation).map(|measures| Distribution::of(&measures.latency_ms));
        let told: Vec<Option<Distribution>> = pools.iter().map(of).collect();
        Series {
            name: operation.replace('_', " "),
            stroke: Stroke::solid(palette::series(index), 2.0),
            marker: Marker::series(index),
            points: told.iter().map(|told| told.and_then(|told| told.p50)).collect(),
            whiskers: told.iter().map(|told| told.and_then(|told| told.p95)).collect(),
        }
    });
    CategoryChart {
        categories: categories(name, pools),
        x_name: condition::axis_name(name),
        y_name: "Median latency of an operation (ms)".to_owned(),
        series: series.filter(|series| series.points.iter().any(Option::is_some)).collect(),
    }
}

/// Median, mean, p95 and, where it stands on enough values, p99 of one kind of duration.
fn overall(name: &str, pools: &[&Pool], y_name: &str, values: impl Fn(&Measures) -> &Sorted) -> CategoryChart {
    let told: Vec<Distribution> = pools.iter().map(|pool| Distribution::of(values(&pool.all))).collect();
    let series = |name: &str, stroke: Stroke, marker: Marker, of: fn(&Distribution) -> Option<f64>| Series {
        name: name.to_owned(),
        stroke,
        marker,
        points: told.iter().map(of).collect(),
        whiskers: Vec::new(),
    };
    let thin = told.iter().any(|told| told.n > 0 && told.p99_thin());
    let p99 = if thin { "p99 (where n ≥ 100)" } else { "p99" };
    CategoryChart {
        categories: categories(name, pools),
        x_name: condition::axis_name(name),
        y_name: y_name.to_owned(),
        series: vec![
            series("median", Stroke::solid(BLUE, 2.5), Marker::Circle, |told| told.p50),
            series("mean", Stroke::dashed(GREEN, 2.0), Marker::Square, |told| told.mean),
            series("p95", Stroke::solid(VERMILLION, 2.0), Marker::TriangleUp, |told| told.p95),
            series(p99, Stroke::dashed(PURPLE, 2.0), Marker::Diamond, Distribution::solid_p99),
        ],
    }
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
        fill: if pool.proved() { MarkerFill::Solid } else { MarkerFill::Open },
        values: pool.all.latency_ms.clone(),
    });
    EcdfChart { x_name: LATENCY.to_owned(), y_name: SHARE.to_owned(), curves: curves.collect() }
}

fn errors_by_outcome(name: &str, pools: &[&Pool]) -> ErrorChart {
    ErrorChart {
        categories: categories(name, pools),
        x_name: condition::axis_name(name),
        tallies: pools.iter().map(|pool| pool.all.tally).collect(),
    }
}

fn curve_name(pool: &Pool) -> String {
    let value = match (pool.condition.as_str(), condition::unit(&pool.condition)) {
        (condition::BASELINE, _) => "baseline".to_owned(),
        (_, Some(unit)) => format!("{} {unit}", pool.magnitude),
        (_, None) => pool.value.clone(),
    };
    let known_as_baseline = pool.condition != condition::BASELINE && pool.baseline;
    let remarks: Vec<String> =
        known_as_baseline.then(|| "baseline".to_owned()).into_iter().chain(pool.doubt()).collect();
    if remarks.is_empty() { value } else { format!("{value} ({})", remarks.join(", ")) }
}

fn categories(name: &str, pools: &[&Pool]) -> Vec<Category> {
    let label = |pool: &Pool| match (pool.condition == condition::BASELINE, condition::unit(name)) {
        (true, _) => "baseline".to_owned(),
        (false, Some(_)) => pool.magnitude.to_string(),
        (false, None) => pool.value.clone(),
    };
    pools.iter().map(|pool| Category { label: label(pool), doubt: pool.doubt() }).collect()
}
