//! Text placement of the two backends of plotters: a label is at the same pixels in both.

use plotters::style::text_anchor::HPos;

use crate::graph::font::{Fonts, LINE_HEIGHT};
use crate::graph::scene::{Anchor, Label, Point};

/// The backend that paints the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextPlacement {
    /// Sizes fonts by line height and puts the baseline half of that below the position. It moves the ink of each
    /// letter to the pen position, which gives uneven spacing: letters are painted individually at their positions.
    Bitmap,
    /// Divides sizes by 1.24 and puts the baseline 0.76 em below the position. A viewer may use another font, so a
    /// label is painted whole and keeps its anchor.
    Svg,
}

/// A part of a label that is painted in one call.
pub(crate) struct TextRun {
    pub(crate) text: String,
    /// Top, pixels.
    pub(crate) at: Point,
    pub(crate) side: HPos,
}

impl TextPlacement {
    /// Returns plotters' font size divided by pixels per em.
    pub(crate) fn size_per_em(self) -> f64 {
        match self {
            TextPlacement::Bitmap => LINE_HEIGHT,
            TextPlacement::Svg => 1.24,
        }
    }

    /// Returns the text runs of `label`, with their positions.
    pub(crate) fn text_runs(self, fonts: Fonts, label: &Label) -> Vec<TextRun> {
        match self {
            TextPlacement::Bitmap => {
                let (start, top) = (label.start(fonts), label.at.1 - label.size * LINE_HEIGHT / 2.0);
                let letters = fonts.letters(&label.text, label.size, label.weight).into_iter();
                let text_run = |(letter, x): (char, f64)| TextRun {
                    text: letter.to_string(),
                    at: (start + x, top),
                    side: HPos::Left,
                };
                letters.map(text_run).collect()
            }
            TextPlacement::Svg => {
                let side = match label.anchor {
                    Anchor::Left => HPos::Left,
                    Anchor::Middle => HPos::Center,
                    Anchor::Right => HPos::Right,
                };
                vec![TextRun { text: label.text.clone(), at: (label.at.0, label.at.1 - 0.76 * label.size), side }]
            }
        }
    }
}
