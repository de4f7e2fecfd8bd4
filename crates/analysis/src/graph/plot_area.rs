//! The frame of a plot: grid, ticks, names of the axes, and the conversion of values to pixels.
//!
//! The name of the y axis is horizontal, above the axis: it is easier to read and takes no width.

use crate::graph::axis::{Axis, Tick};
use crate::graph::font::{CAP_HEIGHT, Fonts, Weight};
use crate::graph::palette::{FAINT_GRID, FAINT_INK, GRID, INK};
use crate::graph::scene::{Anchor, Label, Point, Rect, Scene, Stroke};

/// Font sizes of a graph, pixels per em.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TypeSizes {
    pub(crate) tick: f64,
    pub(crate) axis: f64,
    pub(crate) legend: f64,
    pub(crate) note: f64,
}

/// One category of an x axis.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Category {
    pub(crate) label: String,
    /// Issues of its cells (`unverified`), written below the label if there is space.
    pub(crate) issues: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum XAxis {
    Categories(Vec<Category>),
    Numbers(Axis),
}

/// A frame before its layout.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PlotArea {
    pub(crate) x: XAxis,
    pub(crate) x_name: String,
    pub(crate) y: Axis,
    pub(crate) y_name: String,
}

/// A frame after its layout, which converts values to pixels.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plot {
    pub(crate) area: Rect,
    frame: PlotArea,
}

impl PlotArea {
    /// Draws the frame into `outer` and returns the plot.
    pub(crate) fn draw(self, scene: &mut Scene, fonts: Fonts, outer: Rect, sizes: TypeSizes) -> Plot {
        let widest = |ticks: &[Tick]| {
            ticks.iter().map(|tick| fonts.width(&tick.label, sizes.tick, Weight::Regular)).fold(0.0, f64::max)
        };
        let issue_lines = match &self.x {
            XAxis::Categories(categories) => categories.iter().map(|category| category.issues.len()).max().unwrap_or(0),
            XAxis::Numbers(_) => 0,
        };
        let name_height = if self.x_name.is_empty() { 0.0 } else { sizes.axis * 1.35 };
        let below = sizes.tick * 1.5 + sizes.note * 1.4 * issue_lines as f64 + name_height;
        let area = Rect {
            left: (outer.left + widest(&self.y.ticks) + 10.0).ceil(),
            top: (outer.top + sizes.axis * 2.0).ceil(),
            right: outer.right.floor(),
            bottom: (outer.bottom - below).floor(),
        };
        let plot = Plot { area, frame: self };
        plot.draw_y(scene, outer, sizes);
        plot.draw_x(scene, fonts, outer, sizes);
        plot
    }
}

impl Plot {
    /// Returns the y coordinate of `value`, if it is on the axis.
    pub(crate) fn y(&self, value: f64) -> Option<f64> {
        self.frame.y.fraction(value).map(|fraction| self.area.bottom - fraction * self.area.height())
    }

    /// Returns the x coordinate of `value`, if the axis is numeric and contains it.
    pub(crate) fn x(&self, value: f64) -> Option<f64> {
        match &self.frame.x {
            XAxis::Numbers(axis) => axis.fraction(value).map(|fraction| self.area.left + fraction * self.area.width()),
            XAxis::Categories(_) => None,
        }
    }

    /// Returns the width of a category in pixels; of the whole axis if it is numeric.
    pub(crate) fn slot(&self) -> f64 {
        match &self.frame.x {
            XAxis::Categories(categories) => self.area.width() / categories.len().max(1) as f64,
            XAxis::Numbers(_) => self.area.width(),
        }
    }

    /// Returns the x coordinate of the middle of the category at `index`.
    pub(crate) fn category(&self, index: usize) -> f64 {
        self.area.left + (index as f64 + 0.5) * self.slot()
    }

    /// Writes `text` in the middle of the plot instead of data.
    pub(crate) fn message(&self, scene: &mut Scene, text: &str, size: f64) {
        let at = self.area.center();
        scene.label(Label::new(text, at, size).anchored(Anchor::Middle).colored(FAINT_INK).centred());
    }

    fn draw_y(&self, scene: &mut Scene, outer: Rect, sizes: TypeSizes) {
        let ends = (self.area.left, self.area.right);
        let positions: Vec<(&Tick, f64)> =
            self.frame.y.ticks.iter().filter_map(|tick| self.y(tick.at).map(|y| (tick, y))).collect();
        let spans: Vec<(f64, f64)> =
            positions.iter().map(|(_, y)| (*y - sizes.tick / 2.0, *y + sizes.tick / 2.0)).collect();
        let shown = without_overlap(&positions, &spans, 2.0);
        for (index, (tick, y)) in positions.iter().enumerate() {
            let stroke = grid(tick);
            scene.path(vec![(ends.0, *y), (ends.1, *y)], stroke);
            if shown[index] {
                let at = (self.area.left - 10.0, *y);
                scene.label(Label::new(&tick.label, at, sizes.tick).anchored(Anchor::Right).centred());
            }
        }
        let at = (outer.left, outer.top + sizes.axis);
        scene.label(Label::new(self.frame.y.named(&self.frame.y_name), at, sizes.axis));
    }

    fn draw_x(&self, scene: &mut Scene, fonts: Fonts, outer: Rect, sizes: TypeSizes) {
        let baseline = self.area.bottom + 10.0 + CAP_HEIGHT * sizes.tick;
        let name = match &self.frame.x {
            XAxis::Categories(categories) => {
                self.draw_categories(scene, fonts, categories, baseline, sizes);
                self.frame.x_name.clone()
            }
            XAxis::Numbers(axis) => {
                self.draw_numbers(scene, fonts, axis, baseline, sizes);
                axis.named(&self.frame.x_name)
            }
        };
        let bottom = vec![(self.area.left, self.area.bottom), (self.area.right, self.area.bottom)];
        scene.path(bottom, Stroke::solid(INK, 1.5));
        if !name.is_empty() {
            let at = (self.area.center().0, outer.bottom - sizes.axis * 0.3);
            scene.label(Label::new(name, at, sizes.axis).anchored(Anchor::Middle));
        }
    }

    fn draw_categories(&self, scene: &mut Scene, fonts: Fonts, all: &[Category], baseline: f64, sizes: TypeSizes) {
        let width = |text: &str, size: f64| fonts.width(text, size, Weight::Regular);
        let widest = all.iter().map(|category| width(&category.label, sizes.tick)).fold(0.0, f64::max);
        // If labels would touch, only every second, third … is written.
        let stride = ((widest + 8.0) / self.slot()).ceil().max(1.0) as usize;
        for (index, category) in all.iter().enumerate() {
            let x = self.category(index);
            scene.path(vec![(x, self.area.bottom), (x, self.area.bottom + 5.0)], Stroke::solid(INK, 1.5));
            if index % stride == 0 {
                scene.label(Label::new(&category.label, (x, baseline), sizes.tick).anchored(Anchor::Middle));
            }
            let fitting = category.issues.iter().filter(|issue| width(issue, sizes.note) + 8.0 <= self.slot());
            for (line, issue) in fitting.enumerate() {
                let at = (x, baseline + sizes.note * 1.4 * (line + 1) as f64);
                scene.label(Label::new(issue, at, sizes.note).anchored(Anchor::Middle).colored(FAINT_INK));
            }
        }
    }

    fn draw_numbers(&self, scene: &mut Scene, fonts: Fonts, axis: &Axis, baseline: f64, sizes: TypeSizes) {
        let positions: Vec<(&Tick, f64)> =
            axis.ticks.iter().filter_map(|tick| self.x(tick.at).map(|x| (tick, x))).collect();
        let half = |tick: &Tick| fonts.width(&tick.label, sizes.tick, Weight::Regular) / 2.0;
        let spans: Vec<(f64, f64)> = positions.iter().map(|(tick, x)| (x - half(tick), x + half(tick))).collect();
        let shown = without_overlap(&positions, &spans, 10.0);
        for (index, (tick, x)) in positions.iter().enumerate() {
            scene.path(vec![(*x, self.area.top), (*x, self.area.bottom)], grid(tick));
            let inside = spans[index].1 <= self.area.right + 12.0;
            if shown[index] && inside {
                scene.label(Label::new(&tick.label, (*x, baseline), sizes.tick).anchored(Anchor::Middle));
            }
        }
    }
}

fn grid(tick: &Tick) -> Stroke {
    if tick.label.is_empty() { Stroke::solid(FAINT_GRID, 1.0) } else { Stroke::solid(GRID, 1.0) }
}

/// Returns which ticks can have labels that are at least `gap` apart. Powers of ten have precedence, for crowded
/// logarithmic axes.
fn without_overlap(ticks: &[(&Tick, f64)], spans: &[(f64, f64)], gap: f64) -> Vec<bool> {
    let is_power = |tick: &Tick| tick.label.chars().filter(|digit| *digit != '0' && *digit != '.').eq(['1']);
    let labelled = |index: &usize| !ticks[*index].0.label.is_empty();
    let (powers, others): (Vec<usize>, Vec<usize>) =
        (0..ticks.len()).filter(labelled).partition(|&index| is_power(ticks[index].0));
    let mut shown = vec![false; ticks.len()];
    let mut taken: Vec<(f64, f64)> = Vec::new();
    for index in powers.into_iter().chain(others) {
        let span = spans[index];
        if taken.iter().all(|other| span.1 + gap <= other.0 || other.1 + gap <= span.0) {
            shown[index] = true;
            taken.push(span);
        }
    }
    shown
}

/// Splits `points` at missing values and returns the segments with at least two points.
pub(crate) fn unbroken(points: impl IntoIterator<Item = Option<Point>>) -> Vec<Vec<Point>> {
    let mut segments: Vec<Vec<Point>> = vec![Vec::new()];
    for point in points {
        match (point, segments.last_mut()) {
            (Some(point), Some(segment)) => segment.push(point),
            _ => segments.push(Vec::new()),
        }
    }
    segments.retain(|segment| segment.len() > 1);
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_point_leaves_a_gap() {
        let at = |x: f64| Some((x, 0.0));
        let got = unbroken([at(0.0), at(1.0), None, at(2.0), None, at(3.0), at(4.0)]);
        assert_eq!(got, [vec![(0.0, 0.0), (1.0, 0.0)], vec![(3.0, 0.0), (4.0, 0.0)]]);
    }

    #[test]
    fn powers_of_ten_have_precedence_over_crowded_labels() {
        let axis = Axis::log(1.0, 100.0);
        let ticks: Vec<(&Tick, f64)> = axis.ticks.iter().map(|tick| (tick, 0.0)).collect();
        let spans: Vec<(f64, f64)> =
            axis.ticks.iter().map(|tick| (tick.at.log10() * 30.0, tick.at.log10() * 30.0 + 20.0)).collect();
        let shown = without_overlap(&ticks, &spans, 5.0);
        let kept: Vec<&str> =
            ticks.iter().zip(shown).filter(|(_, shown)| *shown).map(|((tick, _), _)| tick.label.as_str()).collect();
        assert_eq!(kept, ["1", "10", "100"]);
    }
}
