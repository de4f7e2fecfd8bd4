//! Distribution functions as step curves: the fraction of operations with at most a given latency.

use crate::ecdf::Ecdf;
use crate::graph::axis::{Axis, Scale, Tick};
use crate::graph::font::Fonts;
use crate::graph::legend::{Entry, Key};
use crate::graph::marker::Marker;
use crate::graph::plot_area::{Plot, PlotArea, TypeSizes, XAxis};
use crate::graph::scene::{MarkerFill, Point, Rect, Scene, Stroke};
use crate::percentile::{Sorted, percentile};

/// Steps closer together than this, in pixels, are indistinguishable and drawn as one.
const MIN_STEP: f64 = 0.4;

/// Markers per curve, at different heights on each curve to keep them apart.
const MARKERS: usize = 4;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Curve<'a> {
    pub(crate) name: String,
    pub(crate) stroke: Stroke,
    pub(crate) marker: Marker,
    pub(crate) fill: MarkerFill,
    pub(crate) values: &'a Sorted,
}

/// A chart of distribution functions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EcdfChart<'a> {
    pub(crate) x_name: String,
    pub(crate) y_name: String,
    pub(crate) curves: Vec<Curve<'a>>,
}

impl EcdfChart<'_> {
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.curves.iter().map(|curve| Entry::new(Key::Line(curve.stroke, curve.marker), &curve.name)).collect()
    }

    pub(crate) fn draw(&self, scene: &mut Scene, fonts: Fonts, outer: Rect, sizes: TypeSizes) {
        let extremes = self.curves.iter().flat_map(|curve| [curve.values.min(), curve.values.max()]).flatten();
        let frame = PlotArea {
            x: XAxis::Numbers(Axis::covering(extremes)),
            x_name: self.x_name.clone(),
            y: percent_axis(),
            y_name: self.y_name.clone(),
        };
        let plot = frame.draw(scene, fonts, outer, sizes);
        if self.curves.iter().all(|curve| curve.values.is_empty()) {
            plot.message(scene, "no successful operations", sizes.axis);
        }
        for curve in &self.curves {
            if let Some(ecdf) = Ecdf::of(curve.values) {
                scene.path(stairs(&plot, &ecdf), curve.stroke);
            }
        }
        for (index, curve) in self.curves.iter().enumerate() {
            self.draw_markers(scene, &plot, index, curve);
        }
    }

    fn draw_markers(&self, scene: &mut Scene, plot: &Plot, index: usize, curve: &Curve) {
        let shift = (index as f64 + 0.5) / self.curves.len() as f64;
        for fraction in (0..MARKERS).map(|step| (step as f64 + shift) / MARKERS as f64) {
            let at = percentile(curve.values, fraction).and_then(|x| Some((plot.x(x)?, plot.y(100.0 * fraction)?)));
            if let Some(at) = at {
                scene.marker(curve.marker, at, 5.5, curve.stroke.color, curve.fill);
            }
        }
    }
}

/// Creates an axis from 0 to exactly 100 %.
fn percent_axis() -> Axis {
    let ticks = [0.0, 25.0, 50.0, 75.0, 100.0].map(|at| Tick { at, label: format!("{at:.0}") });
    Axis { scale: Scale::Linear, low: 0.0, high: 100.0, ticks: ticks.to_vec() }
}

/// Returns the outline of the steps, from the axis up to 100 %.
fn stairs(plot: &Plot, ecdf: &Ecdf) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    let mut before = plot.area.bottom;
    for (index, (value, fraction)) in ecdf.steps().iter().enumerate() {
        let (Some(x), Some(y)) = (plot.x(*value), plot.y(100.0 * fraction)) else { continue };
        let last = index + 1 == ecdf.steps().len();
        let visible = points.last().is_none_or(|point| x - point.0 >= MIN_STEP || point.1 - y >= MIN_STEP);
        if visible || last {
            points.extend([(x, before), (x, y)]);
            before = y;
        }
    }
    points
}
