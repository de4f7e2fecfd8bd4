//! Lines over categories: a condition's values from left to right, a statistic of each upwards.

use super::axis::Axis;
use super::font::Fonts;
use super::frame::{Category, Frame, Plot, TypeSizes, XAxis, unbroken};
use super::legend::{Entry, Key, whisker};
use super::marker::Marker;
use super::scene::{MarkerFill, Point, Rect, Scene, Stroke};

/// One line: a value for each category, or none.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) stroke: Stroke,
    pub(crate) marker: Marker,
    pub(crate) points: Vec<Option<f64>>,
    /// Up to where a whisker reaches from the point; empty for none at all.
    pub(crate) whiskers: Vec<Option<f64>>,
}

impl Series {
    pub(crate) fn entry(&self) -> Entry {
        Entry::new(Key::Line(self.stroke, self.marker), &self.name)
    }
}

/// A chart of lines over categories.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CategoryChart {
    pub(crate) categories: Vec<Category>,
    pub(crate) x_name: String,
    pub(crate) y_name: String,
    pub(crate) series: Vec<Series>,
}

impl CategoryChart {
    /// Every value that must be on the y axis.
    pub(crate) fn values(&self) -> impl Iterator<Item = f64> {
        self.series.iter().flat_map(|series| series.points.iter().chain(&series.whiskers)).filter_map(|value| *value)
    }

    /// The legend: every series, and what open markers and whiskers mean where there are any.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self.series.iter().map(Series::entry).collect();
        if self.series.iter().any(|series| series.whiskers.iter().any(Option::is_some)) {
            entries.push(Entry::new(Key::Whisker, "up to p95"));
        }
        if self.categories.iter().any(|category| category.doubt.is_some()) {
            entries.push(Entry::new(Key::Open, "condition not proved"));
        }
        entries
    }

    /// Draws the chart into `outer` on the y axis given.
    pub(crate) fn draw(&self, scene: &mut Scene, fonts: Fonts, outer: Rect, sizes: TypeSizes, y: Axis) {
        let frame = Frame {
            x: XAxis::Categories(self.categories.clone()),
            x_name: self.x_name.clone(),
            y,
            y_name: self.y_name.clone(),
        };
        let plot = frame.draw(scene, fonts, outer, sizes);
        if self.values().next().is_none() {
            plot.message(scene, "no operation succeeded", sizes.axis);
        }
        // The first series is the most important one: it is painted last, on top.
        let shown = || self.series.iter().enumerate().rev();
        shown().for_each(|(index, series)| self.draw_whiskers(scene, &plot, index, series));
        shown().for_each(|(index, series)| self.draw_line(scene, &plot, index, series));
        shown().for_each(|(index, series)| self.draw_markers(scene, &plot, index, series));
    }

    /// Where a point goes. Series stand beside each other in a category, so that equal values do not hide each other.
    fn place(&self, plot: &Plot, series: usize, category: usize, value: Option<f64>) -> Option<Point> {
        let step = (plot.slot() * 0.7 / self.series.len() as f64).min(15.0);
        let offset = (series as f64 - (self.series.len() - 1) as f64 / 2.0) * step;
        Some((plot.category(category) + offset, plot.y(value?)?))
    }

    fn draw_whiskers(&self, scene: &mut Scene, plot: &Plot, index: usize, series: &Series) {
        for (category, (&point, &end)) in series.points.iter().zip(&series.whiskers).enumerate() {
            let ends = (self.place(plot, index, category, point), self.place(plot, index, category, end));
            if let (Some(from), Some(to)) = ends {
                whisker(scene, from.0, (from.1, to.1), Stroke::solid(series.stroke.color, 1.5));
            }
        }
    }

    fn draw_line(&self, scene: &mut Scene, plot: &Plot, index: usize, series: &Series) {
        let places =
            series.points.iter().enumerate().map(|(category, &value)| self.place(plot, index, category, value));
        for piece in unbroken(places) {
            scene.path(piece, series.stroke);
        }
    }

    fn draw_markers(&self, scene: &mut Scene, plot: &Plot, index: usize, series: &Series) {
        for (category, &value) in series.points.iter().enumerate() {
            let fill = match self.categories[category].doubt {
                Some(_) => MarkerFill::Open,
                None => MarkerFill::Solid,
            };
            if let Some(at) = self.place(plot, index, category, value) {
                scene.marker(series.marker, at, 6.5, series.stroke.color, fill);
            }
        }
    }
}
