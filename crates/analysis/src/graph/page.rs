//! What surrounds a single plot: title above, footer below, in a picture of 960×600.

use super::RunTitle;
use super::font::{Fonts, Weight};
use super::frame::TypeSizes;
use super::legend::{self, Entry};
use super::palette::FAINT_INK;
use super::scene::{Label, Rect, Scene};

const WIDTH: u32 = 960;
const HEIGHT: u32 = 600;
pub(crate) const MARGIN: f64 = 24.0;

pub(crate) const SIZES: TypeSizes = TypeSizes { tick: 18.0, axis: 18.0, legend: 18.0, note: 14.0 };

/// An empty picture with its title, legend and footer, and the room left for the plot.
pub(crate) fn page(fonts: Fonts, title: &str, entries: &[Entry], footer: &[String]) -> (Scene, Rect) {
    let mut scene = Scene::new(WIDTH, HEIGHT);
    let (right, bottom) = (f64::from(WIDTH) - MARGIN, f64::from(HEIGHT) - 14.0);
    scene.label(Label::new(title, (MARGIN, 40.0), 24.0).bold());
    let width = right - MARGIN;
    let legend_top = 58.0;
    legend::draw(&mut scene, fonts, entries, (MARGIN, legend_top), width, SIZES.legend);
    let legend = legend::height(fonts, entries, width, SIZES.legend);
    let footer_top = draw_footer(&mut scene, fonts, footer, Rect { left: MARGIN, top: 0.0, right, bottom }, SIZES.note);
    (scene, Rect { left: MARGIN, top: legend_top + legend + 10.0, right, bottom: footer_top - 10.0 })
}

/// The parts of a footer: the run, and what the numbers stand on.
pub(crate) fn footer(title: &RunTitle, tried: u64, errors: u64, unlisted: usize) -> Vec<String> {
    let mut parts = vec![format!("run {}", title.run_id), title.line.clone()];
    parts.push(match errors {
        0 => format!("n = {tried} operations, no errors"),
        _ => format!("n = {tried} operations, {errors} of them failed"),
    });
    if unlisted > 0 {
        parts.push(format!("{unlisted} samples of unlisted cells left out"));
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// Writes `parts` at the bottom of `room` in as many lines as they need; returns where they begin.
pub(crate) fn draw_footer(scene: &mut Scene, fonts: Fonts, parts: &[String], room: Rect, size: f64) -> f64 {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        let longer = lines.last().map(|line| format!("{line}  ·  {part}"));
        match (longer, lines.last_mut()) {
            (Some(longer), Some(line)) if fonts.width(&longer, size, Weight::Regular) <= room.width() => *line = longer,
            _ => lines.push(part.clone()),
        }
    }
    let line_height = size * 1.35;
    let top = room.bottom - line_height * lines.len() as f64;
    for (index, line) in lines.iter().enumerate() {
        let baseline = top + line_height * (index as f64 + 1.0) - size * 0.2;
        scene.label(Label::new(line, (room.left, baseline), size).colored(FAINT_INK));
    }
    top
}
