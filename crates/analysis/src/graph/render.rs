//! Paints a scene as SVG with plotters, and the SVG as PNG with resvg.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontDesc, FontFamily, RGBColor, TextStyle};

use crate::graph::font::{FAMILY, Fonts};
use crate::graph::graph_error::GraphError;
use crate::graph::palette;
use crate::graph::scene::{Anchor, Label, Point, Scene, Shape, Stroke};

/// An encoded graph, to be written to `<name>.png` and `<name>.svg`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// File name without extension (`loss-latency`).
    pub name: String,
    /// The encoded PNG.
    pub png: Vec<u8>,
    /// The SVG document.
    pub svg: String,
}

/// Factor by which plotters paints larger than shown, because it rounds positions to whole units.
const SVG_UNITS_PER_PIXEL: u32 = 8;
const ZOOM: f64 = SVG_UNITS_PER_PIXEL as f64;

/// plotters divides font sizes by this in SVG.
const PLOTTERS_SIZE: f64 = 1.24;
/// plotters puts the baseline this many em below the position of a text.
const PLOTTERS_BASELINE: f64 = 0.76;

/// Paints `scene` as SVG, and the SVG as PNG.
pub(crate) fn graph(fonts: Fonts, name: String, scene: &Scene) -> Result<Graph, GraphError> {
    let failed = |reason: String| GraphError::Drawing { graph: name.clone(), reason };
    let svg = vector(scene).map_err(failed)?;
    let png = fonts.rasterize(&svg).map_err(failed)?;
    Ok(Graph { name, png, svg })
}

fn vector(scene: &Scene) -> Result<String, String> {
    let (width, height) = (scene.width * SVG_UNITS_PER_PIXEL, scene.height * SVG_UNITS_PER_PIXEL);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        paint(scene, &area).map_err(|error| error.to_string())?;
        area.present().map_err(|error| error.to_string())?;
    }
    Ok(format!(
        "<svg width=\"{}\" height=\"{}\" viewBox=\"0 0 {width} {height}\" xmlns=\"http://www.w3.org/2000/svg\">\n{svg}</svg>\n",
        scene.width, scene.height
    ))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type PaintResult = Result<(), DrawingAreaErrorKind<std::io::Error>>;

fn paint(scene: &Scene, area: &Area<'_>) -> PaintResult {
    area.fill(&WHITE)?;
    for shape in &scene.shapes {
        match shape {
            Shape::Path(points, stroke) => paint_path(area, points, *stroke)?,
            Shape::Fill(points, color) => {
                let corners: Vec<(i32, i32)> = points.iter().map(|point| to_units(*point)).collect();
                area.draw(&Polygon::new(corners, rgb(*color).filled()))?;
            }
            Shape::Text(label) => paint_label(area, label)?,
        }
    }
    Ok(())
}

fn paint_path(area: &Area<'_>, points: &[Point], stroke: Stroke) -> PaintResult {
    let mut positions: Vec<(i32, i32)> = points.iter().map(|point| to_units(*point)).collect();
    positions.dedup();
    let width = (stroke.width * ZOOM).round().max(1.0) as u32;
    area.draw(&PathElement::new(positions, rgb(stroke.color).stroke_width(width)))
}

fn paint_label(area: &Area<'_>, label: &Label) -> PaintResult {
    let font = FontDesc::new(FontFamily::Name(FAMILY), label.size * PLOTTERS_SIZE * ZOOM, label.weight.style());
    let side = match label.anchor {
        Anchor::Left => HPos::Left,
        Anchor::Middle => HPos::Center,
        Anchor::Right => HPos::Right,
    };
    let color = rgb(label.color);
    let style = TextStyle::from(font).color(&color).pos(Pos::new(side, VPos::Top));
    area.draw_text(&label.text, &style, to_units((label.at.0, label.at.1 - PLOTTERS_BASELINE * label.size)))
}

fn to_units(point: Point) -> (i32, i32) {
    ((point.0 * ZOOM).round() as i32, (point.1 * ZOOM).round() as i32)
}

fn rgb(color: palette::Color) -> RGBColor {
    RGBColor(color.0, color.1, color.2)
}
