//! Lines over categories: a condition's values on the x axis, a statistic of each on the y axis.

use crate::cell_issue::CellIssue;
use crate::graph::axis::Axis;
use crate::graph::font::Fonts;
use crate::graph::legend::{Entry, Key, error_bar, unbounded_bar, whisker};
use crate::graph::marker::Marker;
use crate::graph::plot_area::{Category, Plot, PlotArea, TypeSizes, XAxis, unbroken};
use crate::graph::scene::{MarkerFill, Point, Rect, Scene, Stroke};

/// One line, with an optional value per category.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) stroke: Stroke,
    pub(crate) marker: Marker,
    pub(crate) points: Vec<Option<f64>>,
    /// Lower and upper end per category, infinity for no upper bound; empty if the series has no whiskers.
    pub(crate) whiskers: Vec<Option<(f64, f64)>>,
}

impl Series {
    pub(crate) fn entry(&self) -> Entry {
        Entry::new(Key::Line(self.stroke, self.marker), &self.name)
    }
}

/// The meaning of the whiskers of a chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spread {
    /// From the point up to the 95th percentile of single operations.
    UpToP95,
    ConfidenceInterval,
}

/// A chart of lines over categories.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LineChart {
    pub(crate) categories: Vec<Category>,
    pub(crate) x_name: String,
    pub(crate) y_name: String,
    pub(crate) series: Vec<Series>,
    pub(crate) spread: Spread,
    /// Text for a chart without points.
    pub(crate) empty: &'static str,
}

impl LineChart {
    /// Returns all values that the y axis must cover.
    pub(crate) fn values(&self) -> impl Iterator<Item = f64> {
        let points = self.series.iter().flat_map(|series| &series.points).filter_map(|point| *point);
        let whiskers = self.series.iter().flat_map(|series| &series.whiskers).flatten();
        points.chain(whiskers.flat_map(|(from, to)| [*from, *to])).filter(|value| value.is_finite())
    }

    /// Returns the entries of the legend: every series, and the meaning of whiskers and open markers if there are any.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self.series.iter().map(Series::entry).collect();
        if self.series.iter().any(|series| series.whiskers.iter().any(Option::is_some)) {
            entries.push(match self.spread {
                Spread::UpToP95 => Entry::new(Key::Whisker, "up to p95"),
                Spread::ConfidenceInterval => Entry::new(Key::ErrorBar, "95 % CI over repetitions"),
            });
        }
        if self.series.iter().flat_map(|series| &series.whiskers).flatten().any(|(_, to)| to.is_infinite()) {
            entries.push(Entry::new(Key::UnboundedBar, "no upper bound"));
        }
        entries.extend(issues(&self.categories));
        entries
    }

    /// Draws the chart into `outer` with the y axis `y`.
    pub(crate) fn draw(&self, scene: &mut Scene, fonts: Fonts, outer: Rect, sizes: TypeSizes, y: Axis) {
        let frame = PlotArea {
            x: XAxis::Categories(self.categories.clone()),
            x_name: self.x_name.clone(),
            y,
            y_name: self.y_name.clone(),
        };
        let plot = frame.draw(scene, fonts, outer, sizes);
        if self.values().next().is_none() {
            plot.message(scene, self.empty, sizes.axis);
        }
        // The first series is the most important one: it is painted last, on top.
        let shown = || self.series.iter().enumerate().rev();
        shown().for_each(|(index, series)| self.draw_whiskers(scene, &plot, index, series));
        shown().for_each(|(index, series)| self.draw_line(scene, &plot, index, series));
        shown().for_each(|(index, series)| self.draw_markers(scene, &plot, index, series));
    }

    /// Returns the position of a point. Series are next to each other in a category, to keep equal values visible.
    fn position(&self, plot: &Plot, series: usize, category: usize, value: Option<f64>) -> Option<Point> {
        let step = (plot.slot() * 0.7 / self.series.len() as f64).min(15.0);
        let offset = (series as f64 - (self.series.len() - 1) as f64 / 2.0) * step;
        Some((plot.category(category) + offset, plot.y(value?)?))
    }

    fn draw_whiskers(&self, scene: &mut Scene, plot: &Plot, index: usize, series: &Series) {
        for (category, ends) in series.whiskers.iter().enumerate() {
            let Some((low, high)) = *ends else { continue };
            let at = |value: f64| self.position(plot, index, category, Some(value));
            let stroke = Stroke::solid(series.stroke.color, 1.5);
            match (at(low), at(high), self.spread) {
                (Some(from), _, _) if high.is_infinite() => unbounded_bar(scene, from, plot.area.top, stroke),
                (Some(from), Some(to), Spread::UpToP95) => whisker(scene, from.0, (from.1, to.1), stroke),
                (Some(from), Some(to), Spread::ConfidenceInterval) => error_bar(scene, from.0, (from.1, to.1), stroke),
                _ => (),
            }
        }
    }

    fn draw_line(&self, scene: &mut Scene, plot: &Plot, index: usize, series: &Series) {
        let positions =
            series.points.iter().enumerate().map(|(category, &value)| self.position(plot, index, category, value));
        for segment in unbroken(positions) {
            scene.path(segment, series.stroke);
        }
    }

    fn draw_markers(&self, scene: &mut Scene, plot: &Plot, index: usize, series: &Series) {
        for (category, &value) in series.points.iter().enumerate() {
            let is_reliable = self.categories[category].issues.is_empty();
            let fill = if is_reliable { MarkerFill::Solid } else { MarkerFill::Open };
            if let Some(at) = self.position(plot, index, category, value) {
                scene.marker(series.marker, at, 6.5, series.stroke.color, fill);
            }
        }
    }
}

/// Returns the meaning of open markers, if there are any.
fn issues(categories: &[Category]) -> Option<Entry> {
    let occurs = |issue: &CellIssue| {
        categories.iter().flat_map(|category| &category.issues).any(|text| text.contains(issue.label()))
    };
    let labels: Vec<&str> = CellIssue::ALL.iter().filter(|issue| occurs(issue)).map(|issue| issue.label()).collect();
    (!labels.is_empty()).then(|| Entry::new(Key::OpenMarker, labels.join(", ")))
}
