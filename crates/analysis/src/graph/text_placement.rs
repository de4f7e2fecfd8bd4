//! How the two backends of plotters place text, so that a label is at the same pixels in both.

use plotters::style::text_anchor::HPos;

use crate::graph::font::{Fonts, LINE_HEIGHT};
use crate::graph::scene::{Anchor, Label, Point};

/// Which backend text is painted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextPlacement {
    /// Sizes fonts by line height and hangs the baseline half of that below the position. It pushes each letter's ink
    /// to the pen, which looks ragged: letters are painted one by one, each where it belongs.
    Bitmap,
    /// Divides sizes by 1.24 and hangs the baseline 0.76 em below the position. The viewer of the SVG may use another
    /// font, so a label is one piece and keeps its anchor.
    Svg,
}

/// A part of a label that is painted at once.
pub(crate) struct Piece {
    pub(crate) text: String,
    /// Top, pixels.
    pub(crate) at: Point,
    pub(crate) side: HPos,
}

impl TextPlacement {
    /// Plotters' font size over pixels per em.
    pub(crate) fn size_per_em(self) -> f64 {
        match self {
            TextPlacement::Bitmap => LINE_HEIGHT,
            TextPlacement::Svg => 1.24,
        }
    }

    /// What to paint for `label`, and where.
    pub(crate) fn pieces(self, fonts: Fonts, label: &Label) -> Vec<Piece> {
        match self {
            TextPlacement::Bitmap => {
                let (start, top) = (label.start(fonts), label.at.1 - label.size * LINE_HEIGHT / 2.0);
                let letters = fonts.letters(&label.text, label.size, label.weight).into_iter();
                let piece = |(letter, x): (char, f64)| Piece {
                    text: letter.to_string(),
                    at: (start + x, top),
                    side: HPos::Left,
                };
                letters.map(piece).collect()
            }
            TextPlacement::Svg => {
                let side = match label.anchor {
                    Anchor::Left => HPos::Left,
                    Anchor::Middle => HPos::Center,
                    Anchor::Right => HPos::Right,
                };
                vec![Piece { text: label.text.clone(), at: (label.at.0, label.at.1 - 0.76 * label.size), side }]
            }
        }
    }
}
