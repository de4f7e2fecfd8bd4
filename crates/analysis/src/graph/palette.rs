//! Colours that can be distinguished with any colour vision.
//!
//! Okabe and Ito, "Color Universal Design", 2008 (<https://jfly.uni-koeln.de/color/>). Yellow is for areas only: on
//! white it is too faint for lines. Colour is never the only distinction: every series also has its own marker shape.

/// Red, green, blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Color(pub(crate) u8, pub(crate) u8, pub(crate) u8);

pub(crate) const BLACK: Color = Color(0, 0, 0);
pub(crate) const WHITE: Color = Color(255, 255, 255);
/// Main text.
pub(crate) const INK: Color = Color(34, 34, 34);
/// Secondary text: footers, notes.
pub(crate) const FAINT_INK: Color = Color(102, 102, 102);
/// Grid lines at labelled ticks.
pub(crate) const GRID: Color = Color(217, 217, 217);
/// Grid lines between labelled ticks.
pub(crate) const FAINT_GRID: Color = Color(240, 240, 240);

pub(crate) const BLUE: Color = Color(0, 114, 178);
pub(crate) const VERMILLION: Color = Color(213, 94, 0);
pub(crate) const GREEN: Color = Color(0, 158, 115);
pub(crate) const ORANGE: Color = Color(230, 159, 0);
pub(crate) const SKY: Color = Color(86, 180, 233);
/// For areas only.
pub(crate) const YELLOW: Color = Color(240, 228, 66);
/// Replaces yellow in lines: distinguished from the other colours by lightness alone.
pub(crate) const GREY: Color = Color(140, 140, 140);
pub(crate) const PURPLE: Color = Color(204, 121, 167);

const SERIES: [Color; 8] = [BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK, GREY];

/// Returns the colour of the series at `index`; colours repeat after eight.
pub(crate) fn series(index: usize) -> Color {
    SERIES[index % SERIES.len()]
}
