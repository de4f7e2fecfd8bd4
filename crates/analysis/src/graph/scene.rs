//! A laid out picture: lines, areas and labels in pixels, in the order in which they are painted. Knows no backend.

use crate::graph::font::{CAP_HEIGHT, Fonts, Weight};
use crate::graph::marker::Marker;
use crate::graph::palette::{Color, INK, WHITE};

/// A place in the graph, pixels from its top left corner.
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

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stroke {
    pub(crate) color: Color,
    /// Pixels.
    pub(crate) width: f64,
    /// Pixels on and off; `None` for a solid line.
    pub(crate) dash: Option<(f64, f64)>,
}

impl Stroke {
    pub(crate) fn reliable(color: Color, width: f64) -> Self {
        Stroke { color, width, dash: None }
    }

    pub(crate) fn dashed(color: Color, width: f64) -> Self {
        Stroke { color, width, dash: Some((7.0, 5.0)) }
    }
}

/// Which part of a label is at its place.
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
    /// A label of ordinary weight that starts at `at`.
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

    /// The x pixel at which its first letter starts.
    pub(crate) fn start(&self, fonts: Fonts) -> f64 {
        let width = fonts.width(&self.text, self.size, self.weight);
        match self.anchor {
            Anchor::Left => self.at.0,
            Anchor::Middle => self.at.0 - width / 2.0,
            Anchor::Right => self.at.0 - width,
        }
    }

    /// The box around its letters, from the top of the capitals to the baseline.
    #[cfg(test)]
    pub(crate) fn bounds(&self, fonts: Fonts) -> Rect {
        let left = self.start(fonts);
        let right = left + fonts.width(&self.text, self.size, self.weight);
        Rect { left, top: self.at.1 - CAP_HEIGHT * self.size, right, bottom: self.at.1 }
    }
}

/// One thing to paint.
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
                let pieces = dashes(&points, dash).into_iter();
                self.shapes.extend(pieces.map(|piece| Shape::Path(piece, stroke)));
            }
        }
    }

    pub(crate) fn fill(&mut self, rect: Rect, color: Color) {
        self.shapes.push(Shape::Fill(rect.corners(), color));
    }

    pub(crate) fn label(&mut self, label: Label) {
        self.shapes.push(Shape::Text(label));
    }

    /// A marker with a narrow white rim, so that it stands off lines and other markers; `open` leaves it empty.
    pub(crate) fn marker(&mut self, marker: Marker, at: Point, radius: f64, color: Color, fill: MarkerFill) {
        self.shapes.push(Shape::Fill(marker.corners(at, radius + 1.5), WHITE));
        self.shapes.push(Shape::Fill(marker.corners(at, radius), color));
        if fill == MarkerFill::Open {
            self.shapes.push(Shape::Fill(marker.corners(at, radius * 0.55), WHITE));
        }
    }

    /// All label.
    #[cfg(test)]
    pub(crate) fn labels(&self) -> impl Iterator<Item = &Label> {
        self.shapes.iter().filter_map(|shape| match shape {
            Shape::Text(label) => Some(label),
            Shape::Path(..) | Shape::Fill(..) => None,
        })
    }
}

/// How a marker is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MarkerFill {
    Solid,
    /// Its cells were not all verified.
    Open,
}

/// Cuts a line into dashes of `on` pixels with `off` between them.
fn dashes(points: &[Point], (on, off): (f64, f64)) -> Vec<Vec<Point>> {
    let mut pieces: Vec<Vec<Point>> = Vec::new();
    let mut along = 0.0;
    for pair in points.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let length = (to.0 - from.0).hypot(to.1 - from.1);
        let place = |at: f64| (from.0 + (to.0 - from.0) * at / length, from.1 + (to.1 - from.1) * at / length);
        let mut at = 0.0;
        while at < length {
            let phase = (along + at) % (on + off);
            let (drawn, left) = if phase < on { (true, on - phase) } else { (false, on + off - phase) };
            // A step too small for the sum to grow would never end.
            let next = (at + left.max(1e-6)).min(length);
            if drawn {
                let starts_inside = at == 0.0 && phase > 0.0;
                match pieces.last_mut().filter(|_| starts_inside) {
                    Some(piece) => piece.push(place(next)),
                    None => pieces.push(vec![place(at), place(next)]),
                }
            }
            at = next;
        }
        along += length;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_go_around_corners() {
        let got = dashes(&[(0.0, 0.0), (5.0, 0.0), (5.0, 20.0)], (7.0, 5.0));
        let expect =
            [vec![(0.0, 0.0), (5.0, 0.0), (5.0, 2.0)], vec![(5.0, 7.0), (5.0, 14.0)], vec![(5.0, 19.0), (5.0, 20.0)]];
        assert_eq!(got.len(), expect.len(), "{got:?}");
        for (got, expect) in got.iter().flatten().zip(expect.iter().flatten()) {
            assert!((got.0 - expect.0).abs() < 1e-6 && (got.1 - expect.1).abs() < 1e-6, "{got:?} for {expect:?}");
        }
    }
}
