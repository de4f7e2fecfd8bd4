//! The embedded font and the positions of its letters. No font of the host is used: graphs are identical on all hosts.

use std::sync::OnceLock;

use ab_glyph::{Font, FontRef, PxScale, ScaleFont};
use plotters::style::{FontStyle, register_font};

use crate::graph::graph_error::GraphError;

/// Font family in the SVG. Verdana is as wide as `DejaVu` Sans: labels also fit if only Verdana is installed.
pub(crate) const FAMILY: &str = "DejaVu Sans, Verdana, sans-serif";

/// Line height of `DejaVu` Sans in em (ascent 0.928, descent 0.236); plotters sizes bitmap fonts by it.
pub(crate) const LINE_HEIGHT: f64 = 1.164;

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
}

/// The fonts, registered with plotters.
#[derive(Clone, Copy)]
pub(crate) struct Fonts(&'static Faces);

impl Fonts {
    /// Registers the fonts with plotters, once per process.
    pub(crate) fn load() -> Result<Self, GraphError> {
        static FACES: OnceLock<Result<Faces, &'static str>> = OnceLock::new();
        let loaded = FACES.get_or_init(|| {
            Ok(Faces {
                regular: face("DejaVu Sans", Weight::Regular, dejavu::sans::regular())?,
                bold: face("DejaVu Sans Bold", Weight::Bold, dejavu::sans::bold())?,
            })
        });
        loaded.as_ref().map(Fonts).map_err(|name| GraphError::Font(name))
    }

    /// Returns the width of `text` in pixels at `size` pixels per em.
    pub(crate) fn width(self, text: &str, size: f64, weight: Weight) -> f64 {
        let (_, width) = self.pens(text, size, weight);
        width
    }

    /// Returns the start of the ink of each letter, pixels from the start of `text`. Blanks have no ink and are
    /// omitted.
    pub(crate) fn letters(self, text: &str, size: f64, weight: Weight) -> Vec<(char, f64)> {
        let font = self.face(weight).as_scaled(scale(size));
        let ink = |(letter, pen): (char, f64)| {
            let glyph = font.scaled_glyph(letter);
            font.outline_glyph(glyph).map(|outline| (letter, pen + f64::from(outline.px_bounds().min.x)))
        };
        self.pens(text, size, weight).0.into_iter().filter_map(ink).collect()
    }

    /// Returns the pen position before each letter, and the position after the last.
    fn pens(self, text: &str, size: f64, weight: Weight) -> (Vec<(char, f64)>, f64) {
        let font = self.face(weight).as_scaled(scale(size));
        let (mut pen, mut previous) = (0.0, None);
        let position = |letter: char| {
            let glyph = font.glyph_id(letter);
            pen += previous.map_or(0.0, |previous| f64::from(font.kern(previous, glyph)));
            let at = (letter, pen);
            pen += f64::from(font.h_advance(glyph));
            previous = Some(glyph);
            at
        };
        let pens = text.chars().map(position).collect();
        (pens, pen)
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

    #[test]
    fn letters_keep_their_offset_from_the_pen() {
        let fonts = Fonts::load().unwrap();
        let letters = fonts.letters("J 1", 100.0, Weight::Regular);
        assert_eq!(letters.iter().map(|(letter, _)| *letter).collect::<String>(), "J1");
        assert!(letters[0].1 < 0.0, "the hook of DejaVu's J reaches left of the pen: {letters:?}");
    }
}
