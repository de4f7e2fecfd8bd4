//! Colours that people with any colour vision can tell apart.
//!
//! Okabe and Ito, "Color Universal Design", 2008 (<https://jfly.uni-koeln.de/color/>). Yellow is left out: on white it
//! is too faint for lines. Colour never stands alone: every series has a marker shape of its own too.

/// Red, green, blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Color(pub(crate) u8, pub(crate) u8, pub(crate) u8);

pub(crate) const BLACK: Color = Color(0, 0, 0);
pub(crate) const WHITE: Color = Color(255, 255, 255);
/// Text that must be read.
pub(crate) const INK: Color = Color(34, 34, 34);
/// Text that may be read: footers, notes.
pub(crate) const FAINT_INK: Color = Color(102, 102, 102);
/// Grid lines at labelled ticks.
pub(crate) const GRID: Color = Color(217, 217, 217);
/// Grid lines between them.
pub(crate) const FAINT_GRID: Color = Color(240, 240, 240);

pub(crate) const BLUE: Color = Color(0, 114, 178);
pub(crate) const VERMILLION: Color = Color(213, 94, 0);
pub(crate) const GREEN: Color = Color(0, 158, 115);
pub(crate) const ORANGE: Color = Color(230, 159, 0);
pub(crate) const SKY: Color = Color(86, 180, 233);
/// In yellow's place: lightness alone tells it from the others, whatever one's colour vision.
pub(crate) const GREY: Color = Color(140, 140, 140);
pub(crate) const PURPLE: Color = Color(204, 121, 167);

/// The colours of series, in the order in which they are given out.
const SERIES: [Color; 8] = [BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK, GREY];

/// The colour of the series at `index`; after eight they come again.
pub(crate) fn series(index: usize) -> Color {
    SERIES[index % SERIES.len()]
}
