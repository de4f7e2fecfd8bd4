//! The embedded font, and where its letters go. Nothing is read from the host: graphs look the same everywhere.

use std::sync::OnceLock;

use ab_glyph::{Font, FontRef, PxScale, ScaleFont};
use plotters::style::{FontStyle, register_font};

use crate::graph::GraphError;

/// The family as SVG viewers see it. Verdana is as wide as `DejaVu` Sans, so labels fit where only that is installed.
pub(crate) const FAMILY: &str = "DejaVu Sans, Verdana, sans-serif";

/// Line height of `DejaVu` Sans in em (ascent 0.928, descent 0.236); plotters sizes bitmap fonts by it.
pub(crate) const LINE_HEIGHT: f64 = 1.164;

/// Height of capitals in em.
pub(crate) const CAP_HEIGHT: f64 = 0.729;

/// How heavy a text is.
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

/// The fonts, known to plotters and ready to be measured.
#[derive(Clone, Copy)]
pub(crate) struct Fonts(&'static Faces);

impl Fonts {
    /// Registers the fonts with plotters, once a process.
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

    /// The width of `text` in pixels at `size` pixels per em.
    pub(crate) fn width(self, text: &str, size: f64, weight: Weight) -> f64 {
        let (_, width) = self.pens(text, size, weight);
        width
    }

    /// Where the ink of each letter starts, pixels from the start of `text`. Blanks have no ink and are left out.
    pub(crate) fn letters(self, text: &str, size: f64, weight: Weight) -> Vec<(char, f64)> {
        let font = self.face(weight).as_scaled(scale(size));
        let ink = |(letter, pen): (char, f64)| {
            let glyph = font.scaled_glyph(letter);
            font.outline_glyph(glyph).map(|outline| (letter, pen + f64::from(outline.px_bounds().min.x)))
        };
        self.pens(text, size, weight).0.into_iter().filter_map(ink).collect()
    }

    /// Where the pen stands before each letter, and after the last.
    fn pens(self, text: &str, size: f64, weight: Weight) -> (Vec<(char, f64)>, f64) {
        let font = self.face(weight).as_scaled(scale(size));
        let (mut pen, mut before) = (0.0, None);
        let place = |letter: char| {
            let glyph = font.glyph_id(letter);
            pen += before.map_or(0.0, |before| f64::from(font.kern(before, glyph)));
            let at = (letter, pen);
            pen += f64::from(font.h_advance(glyph));
            before = Some(glyph);
            at
        };
        let pens = text.chars().map(place).collect();
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
    fn widths_are_those_of_dejavu() {
        let fonts = Fonts::load().unwrap();
        // The advance of a digit in DejaVu Sans is 1303 of 2048 units.
        assert!((fonts.width("0000", 100.0, Weight::Regular) - 4.0 * 63.62).abs() < 0.1);
        assert!(fonts.width("Delay", 20.0, Weight::Bold) > fonts.width("Delay", 20.0, Weight::Regular));
    }

    #[test]
    fn letters_keep_their_distance_from_the_pen() {
        let fonts = Fonts::load().unwrap();
        let letters = fonts.letters("J 1", 100.0, Weight::Regular);
        assert_eq!(letters.iter().map(|(letter, _)| *letter).collect::<String>(), "J1");
        assert!(letters[0].1 < 0.0, "the hook of DejaVu's J reaches left of the pen: {letters:?}");
    }
}
