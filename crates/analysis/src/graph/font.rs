//! The embedded font, the width of text, and painting of SVG with this font. No font of the host is used: graphs are identical on all hosts.

use std::sync::{Arc, OnceLock};

use ab_glyph::{Font, FontRef, PxScale, ScaleFont};
use plotters::style::{FontStyle, register_font};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::{Database, Source};
use resvg::usvg::{Options, Tree};

use crate::graph::graph_error::GraphError;

/// Font family in the SVG. Verdana is as wide as `DejaVu` Sans: labels also fit if only Verdana is installed.
pub(crate) const FAMILY: &str = "DejaVu Sans, Verdana, sans-serif";

/// Line height of `DejaVu` Sans in em (ascent 0.928, descent 0.236).
const LINE_HEIGHT: f64 = 1.164;

/// Height of capitals in em.
pub(crate) const CAP_HEIGHT: f64 = 0.729;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    Regular,
    Bold,
}

impl Weight {
    pub(crate) fn style(self) -> FontStyle {
        match self {
            Weight::Regular => FontStyle::Normal,
            Weight::Bold => FontStyle::Bold,
        }
    }
}

struct Faces {
    regular: FontRef<'static>,
    bold: FontRef<'static>,
    /// Both, for resvg.
    database: Arc<Database>,
}

/// The fonts, registered with plotters.
#[derive(Clone, Copy)]
pub(crate) struct Fonts(&'static Faces);

impl Fonts {
    /// Registers the fonts with plotters, once per process.
    pub(crate) fn load() -> Result<Self, GraphError> {
        static FACES: OnceLock<Result<Faces, &'static str>> = OnceLock::new();
        let loaded = FACES.get_or_init(|| {
            let mut database = Database::new();
            for bytes in [dejavu::sans::regular(), dejavu::sans::bold()] {
                database.load_font_source(Source::Binary(Arc::new(bytes)));
            }
            Ok(Faces {
                database: Arc::new(database),
                regular: face("DejaVu Sans", Weight::Regular, dejavu::sans::regular())?,
                bold: face("DejaVu Sans Bold", Weight::Bold, dejavu::sans::bold())?,
            })
        });
        loaded.as_ref().map(Fonts).map_err(|name| GraphError::Font(name))
    }

    /// Returns the width of `text` in pixels at `size` pixels per em.
    pub(crate) fn width(self, text: &str, size: f64, weight: Weight) -> f64 {
        let font = self.face(weight).as_scaled(scale(size));
        let mut previous = None;
        let advance = |letter: char| {
            let glyph = font.glyph_id(letter);
            let kerning = previous.replace(glyph).map_or(0.0, |previous| font.kern(previous, glyph));
            f64::from(kerning) + f64::from(font.h_advance(glyph))
        };
        text.chars().map(advance).sum()
    }

    /// Paints an SVG as PNG.
    ///
    /// # Errors
    /// The SVG is invalid, or the image is too large.
    pub(crate) fn rasterize(self, svg: &str) -> Result<Vec<u8>, String> {
        let options = Options { fontdb: Arc::clone(&self.0.database), ..Options::default() };
        let tree = Tree::from_str(svg, &options).map_err(|error| error.to_string())?;
        let size = tree.size().to_int_size();
        let mut pixels = Pixmap::new(size.width(), size.height()).ok_or("the graph has no area")?;
        resvg::render(&tree, Transform::identity(), &mut pixels.as_mut());
        pixels.encode_png().map_err(|error| error.to_string())
    }

    fn face(self, weight: Weight) -> &'static FontRef<'static> {
        match weight {
            Weight::Regular => &self.0.regular,
            Weight::Bold => &self.0.bold,
        }
    }
}

/// `ab_glyph`'s scale is the line height.
fn scale(size: f64) -> PxScale {
    PxScale::from((size * LINE_HEIGHT) as f32)
}

fn face(name: &'static str, weight: Weight, bytes: &'static [u8]) -> Result<FontRef<'static>, &'static str> {
    register_font(FAMILY, weight.style(), bytes).map_err(|_| name)?;
    FontRef::try_from_slice(bytes).map_err(|_| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_match_dejavu() {
        let fonts = Fonts::load().unwrap();
        // The advance of a digit in DejaVu Sans is 1303 of 2048 units.
        assert!((fonts.width("0000", 100.0, Weight::Regular) - 4.0 * 63.62).abs() < 0.1);
        assert!(fonts.width("Delay", 20.0, Weight::Bold) > fonts.width("Delay", 20.0, Weight::Regular));
    }
}
