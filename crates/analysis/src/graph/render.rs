//! Paints a scene with plotters, with one function for both formats, and encodes it as PNG and SVG.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{Pos, VPos};
use plotters::style::{FontDesc, FontFamily, RGBColor, TextStyle};

use crate::graph::font::{FAMILY, Fonts};
use crate::graph::graph_error::GraphError;
use crate::graph::palette;
use crate::graph::scene::{Label, Point, Scene, Shape, Stroke};
use crate::graph::text_placement::TextPlacement;

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

/// Factor by which bitmaps are painted larger, then averaged down: plotters does not smooth thick lines and areas.
const OVERSAMPLING: u32 = 3;

/// Factor by which SVGs are painted larger, then scaled down by `viewBox`: plotters rounds positions to whole units.
const SVG_UNITS_PER_PIXEL: u32 = 8;

/// Paints `scene` as PNG and SVG.
pub(crate) fn graph(fonts: Fonts, name: String, scene: &Scene) -> Result<Graph, GraphError> {
    let failed = |reason: String| GraphError::Backend { graph: name.clone(), reason };
    let pixels = bitmap(fonts, scene).map_err(failed)?;
    let svg = vector(fonts, scene).map_err(failed)?;
    match encode(&pixels, scene.width, scene.height) {
        Ok(png) => Ok(Graph { name, png, svg }),
        Err(source) => Err(GraphError::Png { graph: name, source }),
    }
}

/// Returns three bytes per pixel, row by row.
fn bitmap(fonts: Fonts, scene: &Scene) -> Result<Vec<u8>, String> {
    let (width, height) = (scene.width * OVERSAMPLING, scene.height * OVERSAMPLING);
    let mut large = vec![255; (width * height * 3) as usize];
    {
        let area = BitMapBackend::with_buffer(&mut large, (width, height)).into_drawing_area();
        let brush = Brush { fonts, zoom: f64::from(OVERSAMPLING), text_placement: TextPlacement::Bitmap };
        paint(scene, &area, brush).map_err(|error| error.to_string())?;
        area.present().map_err(|error| error.to_string())?;
    }
    Ok(average_down(&large, scene.width as usize, scene.height as usize))
}

/// Averages squares of [`OVERSAMPLING`] × [`OVERSAMPLING`] pixels into one.
///
/// Most of a graph is blank: stretches of 20 blank pixels are copied without averaging, which is many times faster.
fn average_down(large: &[u8], width: usize, height: usize) -> Vec<u8> {
    let factor = OVERSAMPLING as usize;
    let row_bytes = width * 3 * factor;
    let blank = [255; 20 * 3 * OVERSAMPLING as usize];
    let mut small = Vec::with_capacity(width * height * 3);
    for band in large.chunks_exact(row_bytes * factor) {
        for start in (0..row_bytes).step_by(blank.len()) {
            let end = (start + blank.len()).min(row_bytes);
            let rows: [&[u8]; OVERSAMPLING as usize] =
                std::array::from_fn(|row| &band[row * row_bytes + start..row * row_bytes + end]);
            if rows.iter().all(|row| *row == &blank[..end - start]) {
                small.extend_from_slice(&blank[..(end - start) / factor]);
            } else {
                average_rows(rows, &mut small);
            }
        }
    }
    small
}

fn average_rows(rows: [&[u8]; OVERSAMPLING as usize], small: &mut Vec<u8>) {
    let factor = OVERSAMPLING as usize;
    for pixel in (0..rows[0].len()).step_by(3 * factor) {
        for channel in pixel..pixel + 3 {
            let column = |row: &[u8]| (0..factor).map(|step| u32::from(row[channel + 3 * step])).sum::<u32>();
            let sum: u32 = rows.iter().map(|row| column(row)).sum();
            small.push((sum / (OVERSAMPLING * OVERSAMPLING)) as u8);
        }
    }
}

fn encode(pixels: &[u8], width: u32, height: u32) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(bytes)
}

fn vector(fonts: Fonts, scene: &Scene) -> Result<String, String> {
    let (width, height) = (scene.width * SVG_UNITS_PER_PIXEL, scene.height * SVG_UNITS_PER_PIXEL);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        let brush = Brush { fonts, zoom: f64::from(SVG_UNITS_PER_PIXEL), text_placement: TextPlacement::Svg };
        paint(scene, &area, brush).map_err(|error| error.to_string())?;
        area.present().map_err(|error| error.to_string())?;
    }
    let painted_size = format!("width=\"{width}\" height=\"{height}\"");
    let shown_size = format!("width=\"{}\" height=\"{}\"", scene.width, scene.height);
    Ok(svg.replacen(&painted_size, &shown_size, 1))
}

type PaintResult<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

/// The parameters of painting in addition to the scene.
#[derive(Clone, Copy)]
struct Brush {
    fonts: Fonts,
    /// Units of the backend per pixel of the scene.
    zoom: f64,
    text_placement: TextPlacement,
}

fn paint<DB: DrawingBackend>(scene: &Scene, area: &DrawingArea<DB, Shift>, brush: Brush) -> PaintResult<DB> {
    area.fill(&WHITE)?;
    for shape in &scene.shapes {
        match shape {
            Shape::Path(points, stroke) => paint_path(area, points, *stroke, brush)?,
            Shape::Fill(points, color) => {
                let corners: Vec<(i32, i32)> = points.iter().map(|point| to_units(*point, brush.zoom)).collect();
                area.draw(&Polygon::new(corners, rgb(*color).filled()))?;
            }
            Shape::Text(label) => paint_label(area, label, brush)?,
        }
    }
    Ok(())
}

fn paint_path<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    points: &[Point],
    stroke: Stroke,
    brush: Brush,
) -> PaintResult<DB> {
    let mut positions: Vec<(i32, i32)> = points.iter().map(|point| to_units(*point, brush.zoom)).collect();
    positions.dedup();
    let width = (stroke.width * brush.zoom).round().max(1.0) as u32;
    area.draw(&PathElement::new(positions, rgb(stroke.color).stroke_width(width)))
}

fn paint_label<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, label: &Label, brush: Brush) -> PaintResult<DB> {
    let size = label.size * brush.text_placement.size_per_em() * brush.zoom;
    let font = FontDesc::new(FontFamily::Name(FAMILY), size, label.weight.style());
    let color = rgb(label.color);
    for run in brush.text_placement.text_runs(brush.fonts, label) {
        let style = TextStyle::from(font.clone()).color(&color).pos(Pos::new(run.side, VPos::Top));
        area.draw_text(&run.text, &style, to_units(run.at, brush.zoom))?;
    }
    Ok(())
}

fn to_units(point: Point, zoom: f64) -> (i32, i32) {
    ((point.0 * zoom).round() as i32, (point.1 * zoom).round() as i32)
}

fn rgb(color: palette::Color) -> RGBColor {
    RGBColor(color.0, color.1, color.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_are_averaged_and_blanks_stay_blank() {
        // 50 × 1 pixels; the 45th is black in one of its nine subpixels and green in another.
        let (width, factor) = (50, OVERSAMPLING as usize);
        let mut large = vec![255; width * factor * factor * 3];
        let at = |row: usize, column: usize| (row * width * factor + 44 * factor + column) * 3;
        large[at(0, 0)..at(0, 0) + 3].fill(0);
        large[at(2, 1)..at(2, 1) + 3].copy_from_slice(&[0, 255, 0]);
        let small = average_down(&large, width, 1);
        assert_eq!(small.len(), width * 3);
        assert_eq!(small[44 * 3..45 * 3], [198, 226, 198]);
        assert!(small.iter().enumerate().all(|(index, byte)| *byte == 255 || index / 3 == 44));
    }
}
