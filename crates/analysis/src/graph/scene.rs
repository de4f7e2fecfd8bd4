//! The layout of a graph: lines, areas and labels in pixels, in the order of painting, independent of backends.

#[cfg(test)]
use crate::graph::font::Fonts;
use crate::graph::font::{CAP_HEIGHT, Weight};
use crate::graph::marker::Marker;
use crate::graph::palette::{Color, INK, WHITE};

/// A position in the graph, pixels from its top left corner.
pub(crate) type Point = (f64, f64);

/// A rectangle in pixels; `top` is less than `bottom`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rect {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) right: f64,
    pub(crate) bottom: f64,
}

impl Rect {
    pub(crate) fn width(&self) -> f64 {
        self.right - self.left
    }

    pub(crate) fn height(&self) -> f64 {
        self.bottom - self.top
    }

    pub(crate) fn center(&self) -> Point {
        (f64::midpoint(self.left, self.right), f64::midpoint(self.top, self.bottom))
    }

    fn corners(&self) -> Vec<Point> {
        vec![(self.left, self.top), (self.right, self.top), (self.right, self.bottom), (self.left, self.bottom)]
    }
}

/// The style of a line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stroke {
    pub(crate) color: Color,
    /// Pixels.
    pub(crate) width: f64,
    /// Pixels on and off; `None` for a solid line.
    pub(crate) dash: Option<(f64, f64)>,
}

impl Stroke {
    pub(crate) fn solid(color: Color, width: f64) -> Self {
        Stroke { color, width, dash: None }
    }

    pub(crate) fn dashed(color: Color, width: f64) -> Self {
        Stroke { color, width, dash: Some((7.0, 5.0)) }
    }
}

/// The part of a label that is at its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Left,
    Middle,
    Right,
}

/// A text in the graph. `at` is on its baseline.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Label {
    pub(crate) text: String,
    pub(crate) at: Point,
    /// Pixels per em.
    pub(crate) size: f64,
    pub(crate) color: Color,
    pub(crate) weight: Weight,
    pub(crate) anchor: Anchor,
}

impl Label {
    /// Creates a label of regular weight that starts at `at`.
    pub(crate) fn new(text: impl Into<String>, at: Point, size: f64) -> Self {
        let text = text.into();
        Label { text, at, size, color: INK, weight: Weight::Regular, anchor: Anchor::Left }
    }

    pub(crate) fn colored(self, color: Color) -> Self {
        Label { color, ..self }
    }

    pub(crate) fn bold(self) -> Self {
        Label { weight: Weight::Bold, ..self }
    }

    pub(crate) fn anchored(self, anchor: Anchor) -> Self {
        Label { anchor, ..self }
    }

    /// Moves the label so that its capitals are centred where its baseline was.
    pub(crate) fn centred(self) -> Self {
        let shift = CAP_HEIGHT * self.size / 2.0;
        Label { at: (self.at.0, self.at.1 + shift), ..self }
    }

    /// Returns the box around the letters, from the top of the capitals to the baseline.
    #[cfg(test)]
    pub(crate) fn bounds(&self, fonts: Fonts) -> Rect {
        let width = fonts.width(&self.text, self.size, self.weight);
        let left = match self.anchor {
            Anchor::Left => self.at.0,
            Anchor::Middle => self.at.0 - width / 2.0,
            Anchor::Right => self.at.0 - width,
        };
        Rect { left, top: self.at.1 - CAP_HEIGHT * self.size, right: left + width, bottom: self.at.1 }
    }
}

/// One element to paint.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    /// A line through points.
    Path(Vec<Point>, Stroke),
    /// A filled polygon.
    Fill(Vec<Point>, Color),
    /// A text.
    Text(Label),
}

/// A graph before it is painted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scene {
    /// Pixels.
    pub(crate) width: u32,
    /// Pixels.
    pub(crate) height: u32,
    pub(crate) shapes: Vec<Shape>,
}

impl Scene {
    pub(crate) fn new(width: u32, height: u32) -> Self {
        Scene { width, height, shapes: Vec::new() }
    }

    pub(crate) fn path(&mut self, points: Vec<Point>, stroke: Stroke) {
        match stroke.dash {
            None => self.shapes.push(Shape::Path(points, stroke)),
            Some(dash) => {
                let dashes = dashes(&points, dash).into_iter();
                self.shapes.extend(dashes.map(|dash| Shape::Path(dash, stroke)));
            }
        }
    }

    pub(crate) fn fill(&mut self, rect: Rect, color: Color) {
        self.shapes.push(Shape::Fill(rect.corners(), color));
    }

    pub(crate) fn label(&mut self, label: Label) {
        self.shapes.push(Shape::Text(label));
    }

    /// Draws a marker with a narrow white rim, to separate it from lines and other markers.
    pub(crate) fn marker(&mut self, marker: Marker, at: Point, radius: f64, color: Color, fill: MarkerFill) {
        self.shapes.push(Shape::Fill(marker.corners(at, radius + 1.5), WHITE));
        self.shapes.push(Shape::Fill(marker.corners(at, radius), color));
        if fill == MarkerFill::Open {
            self.shapes.push(Shape::Fill(marker.corners(at, radius * 0.55), WHITE));
        }
    }

    #[cfg(test)]
    pub(crate) fn labels(&self) -> impl Iterator<Item = &Label> {
        self.shapes.iter().filter_map(|shape| match shape {
            Shape::Text(label) => Some(label),
            Shape::Path(..) | Shape::Fill(..) => None,
        })
    }
}

/// Filling of a marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MarkerFill {
    Solid,
    /// For values with an issue.
    Open,
}

/// Cuts a line into dashes of `on` pixels with `off` between them.
fn dashes(points: &[Point], (on, off): (f64, f64)) -> Vec<Vec<Point>> {
    let mut dashes: Vec<Vec<Point>> = Vec::new();
    let mut distance = 0.0;
    for pair in points.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let length = (to.0 - from.0).hypot(to.1 - from.1);
        let point = |at: f64| (from.0 + (to.0 - from.0) * at / length, from.1 + (to.1 - from.1) * at / length);
        let mut at = 0.0;
        while at < length {
            let phase = (distance + at) % (on + off);
            let (is_drawn, remaining) = if phase < on { (true, on - phase) } else { (false, on + off - phase) };
            // A step too small to change the sum would loop forever.
            let next = (at + remaining.max(1e-6)).min(length);
            if is_drawn {
                let continues_dash = at == 0.0 && phase > 0.0;
                match dashes.last_mut().filter(|_| continues_dash) {
                    Some(dash) => dash.push(point(next)),
                    None => dashes.push(vec![point(at), point(next)]),
                }
            }
            at = next;
        }
        distance += length;
    }
    dashes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_continue_around_corners() {
        let got = dashes(&[(0.0, 0.0), (5.0, 0.0), (5.0, 20.0)], (7.0, 5.0));
        let expected =
            [vec![(0.0, 0.0), (5.0, 0.0), (5.0, 2.0)], vec![(5.0, 7.0), (5.0, 14.0)], vec![(5.0, 19.0), (5.0, 20.0)]];
        assert_eq!(got.len(), expected.len(), "{got:?}");
        for (got, expected) in got.iter().flatten().zip(expected.iter().flatten()) {
            assert!(
                (got.0 - expected.0).abs() < 1e-6 && (got.1 - expected.1).abs() < 1e-6,
                "{got:?}, expected {expected:?}"
            );
        }
    }
}
