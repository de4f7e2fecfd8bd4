//! The legend: rows of keys and names above the plot, where they do not cover data.

use crate::graph::font::{Fonts, Weight};
use crate::graph::marker::Marker;
use crate::graph::palette::{Color, FAINT_INK};
use crate::graph::scene::{Label, MarkerFill, Point, Rect, Scene, Stroke};

/// The symbol in front of a name in the legend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Key {
    /// A line with a marker on it.
    Line(Stroke, Marker),
    /// A filled square.
    Swatch(Color),
    /// A vertical line with a cap.
    Whisker,
    /// A vertical line with two caps.
    ErrorBar,
    /// A dashed vertical line with a cap at its lower end.
    UnboundedBar,
    /// An open marker.
    OpenMarker,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) name: String,
}

impl Entry {
    pub(crate) fn new(key: Key, name: impl Into<String>) -> Self {
        Entry { key, name: name.into() }
    }
}

const KEY_WIDTH: f64 = 34.0;
const KEY_GAP: f64 = 8.0;
const ENTRY_GAP: f64 = 26.0;

/// Returns the height of `entries` in rows of at most `width`.
pub(crate) fn height(fonts: Fonts, entries: &[Entry], width: f64, size: f64) -> f64 {
    let rows = positions(fonts, entries, width, size).last().map_or(0, |(_, row)| row + 1);
    f64::from(rows) * row_height(size)
}

/// Draws `entries` from `top_left` in rows of at most `width`.
pub(crate) fn draw(scene: &mut Scene, fonts: Fonts, entries: &[Entry], top_left: Point, width: f64, size: f64) {
    for (entry, (x, row)) in entries.iter().zip(positions(fonts, entries, width, size)) {
        let left = (top_left.0 + x, top_left.1 + (f64::from(row) + 0.5) * row_height(size));
        draw_key(scene, entry.key, left);
        scene.label(Label::new(&entry.name, (left.0 + KEY_WIDTH + KEY_GAP, left.1), size).centred());
    }
}

fn row_height(size: f64) -> f64 {
    size * 1.5
}

/// Returns the x offset and the row of each entry.
fn positions(fonts: Fonts, entries: &[Entry], width: f64, size: f64) -> Vec<(f64, u32)> {
    let (mut x, mut row) = (0.0, 0);
    let position = |entry: &Entry| {
        let entry_width = KEY_WIDTH + KEY_GAP + fonts.width(&entry.name, size, Weight::Regular);
        if x > 0.0 && x + entry_width > width {
            (x, row) = (0.0, row + 1);
        }
        let at = (x, row);
        x += entry_width + ENTRY_GAP;
        at
    };
    entries.iter().map(position).collect()
}

/// Draws a key from `left`, vertically centred in its row.
fn draw_key(scene: &mut Scene, key: Key, left: Point) {
    let center = (left.0 + KEY_WIDTH / 2.0, left.1);
    match key {
        Key::Line(stroke, marker) => {
            scene.path(vec![left, (left.0 + KEY_WIDTH, left.1)], stroke);
            scene.marker(marker, center, 6.0, stroke.color, MarkerFill::Solid);
        }
        Key::Swatch(color) => {
            let half = 8.0;
            let (x, y) = center;
            scene.fill(Rect { left: x - half, top: y - half, right: x + half, bottom: y + half }, color);
        }
        Key::Whisker => {
            whisker(scene, center.0, (center.1 + 9.0, center.1 - 9.0), Stroke::solid(FAINT_INK, 1.5));
        }
        Key::ErrorBar => {
            error_bar(scene, center.0, (center.1 + 9.0, center.1 - 9.0), Stroke::solid(FAINT_INK, 1.5));
        }
        Key::UnboundedBar => {
            unbounded_bar(scene, (center.0, center.1 + 9.0), center.1 - 9.0, Stroke::solid(FAINT_INK, 1.5));
        }
        Key::OpenMarker => scene.marker(Marker::Circle, center, 6.5, FAINT_INK, MarkerFill::Open),
    }
}

/// Draws a vertical line at `x` from `ends.0` to `ends.1`, with a cap at `ends.1`.
pub(crate) fn whisker(scene: &mut Scene, x: f64, ends: (f64, f64), stroke: Stroke) {
    scene.path(vec![(x, ends.0), (x, ends.1)], stroke);
    scene.path(vec![(x - 5.0, ends.1), (x + 5.0, ends.1)], stroke);
}

/// Draws a vertical line at `x` with a cap at both `ends`.
pub(crate) fn error_bar(scene: &mut Scene, x: f64, ends: (f64, f64), stroke: Stroke) {
    whisker(scene, x, ends, stroke);
    scene.path(vec![(x - 5.0, ends.0), (x + 5.0, ends.0)], stroke);
}

/// Draws a dashed vertical line from `bottom`, which has a cap, up to `top`.
pub(crate) fn unbounded_bar(scene: &mut Scene, bottom: Point, top: f64, stroke: Stroke) {
    scene.path(vec![bottom, (bottom.0, top)], Stroke { dash: Some((4.0, 3.0)), ..stroke });
    scene.path(vec![(bottom.0 - 5.0, bottom.1), (bottom.0 + 5.0, bottom.1)], stroke);
}
