//! Failed operations in percent of all operations, stacked by outcome.

use crate::graph::axis::Axis;
use crate::graph::font::{Fonts, Weight};
use crate::graph::legend::{Entry, Key};
use crate::graph::palette::{BLACK, Color, FAINT_INK, GREEN, ORANGE, PURPLE, SKY, VERMILLION, WHITE};
use crate::graph::plot_area::{Category, Plot, PlotArea, TypeSizes, XAxis};
use crate::graph::scene::{Anchor, Label, Point, Rect, Scene, Stroke};
use crate::outcome_counts::OutcomeCounts;
use model::Outcome;

/// A chart of errors over categories.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ErrorChart {
    pub(crate) categories: Vec<Category>,
    pub(crate) x_name: String,
    /// One per category.
    pub(crate) counts: Vec<OutcomeCounts>,
}

/// Returns the colour and the label of an outcome.
fn appearance(outcome: Outcome) -> (Color, &'static str) {
    match outcome {
        Outcome::Ok => (GREEN, "succeeded"),
        Outcome::Refused => (SKY, "refused by the shop"),
        Outcome::Timeout => (VERMILLION, "timed out"),
        Outcome::ConnectFailed => (ORANGE, "could not connect"),
        Outcome::Reset => (PURPLE, "connection reset"),
        Outcome::Protocol => (BLACK, "protocol error"),
    }
}

impl ErrorChart {
    fn total(&self) -> u64 {
        self.counts.iter().map(OutcomeCounts::total).sum()
    }

    /// Returns the outcomes of the failed operations.
    fn failures(&self) -> impl Iterator<Item = Outcome> {
        let occurred = |outcome: &Outcome| self.counts.iter().any(|counts| counts.of(*outcome) > 0);
        Outcome::ALL.iter().copied().filter(|outcome| *outcome != Outcome::Ok).filter(occurred)
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.failures().map(appearance).map(|(color, label)| Entry::new(Key::Swatch(color), label)).collect()
    }

    pub(crate) fn draw(&self, scene: &mut Scene, fonts: Fonts, outer: Rect, sizes: TypeSizes) {
        let highest = self.counts.iter().filter_map(OutcomeCounts::error_percent).fold(0.0, f64::max);
        let frame = PlotArea {
            x: XAxis::Categories(self.categories.clone()),
            x_name: self.x_name.clone(),
            // Leaves space for the label above the highest bar.
            y: if highest > 0.0 { Axis::linear(highest * 1.15) } else { Axis::zero() },
            y_name: "Failed operations (%)".to_owned(),
        };
        let plot = frame.draw(scene, fonts, outer, sizes);
        if self.failures().next().is_none() {
            let text = format!("no errors in {} operations", self.total());
            let label = Label::new(text, plot.area.center(), 24.0).bold().anchored(Anchor::Middle);
            scene.label(label.colored(GREEN).centred());
        }
        for (index, counts) in self.counts.iter().enumerate() {
            draw_bar(scene, &plot, index, counts);
            draw_count(scene, fonts, &plot, index, counts, sizes);
        }
    }
}

fn bar_half_width(plot: &Plot) -> f64 {
    (plot.slot() * 0.3).min(60.0)
}

fn draw_bar(scene: &mut Scene, plot: &Plot, index: usize, counts: &OutcomeCounts) {
    let (x, half) = (plot.category(index), bar_half_width(plot));
    let mut below = 0.0;
    for outcome in Outcome::ALL.iter().copied().filter(|outcome| *outcome != Outcome::Ok) {
        let above = below + counts.percent_of(outcome).unwrap_or_default();
        if let (Some(bottom), Some(top)) = (plot.y(below), plot.y(above))
            && above > below
        {
            scene.fill(Rect { left: x - half, top, right: x + half, bottom }, appearance(outcome).0);
            if below > 0.0 {
                scene.path(vec![(x - half, bottom), (x + half, bottom)], Stroke::solid(WHITE, 1.5));
            }
        }
        below = above;
    }
}

/// Writes the percentage above the bar, and the counts if there is space.
fn draw_count(scene: &mut Scene, fonts: Fonts, plot: &Plot, index: usize, counts: &OutcomeCounts, sizes: TypeSizes) {
    let x = plot.category(index);
    let Some(percent) = counts.error_percent() else {
        let at = (x, plot.area.bottom - 8.0);
        scene.label(Label::new("no operations", at, sizes.note).anchored(Anchor::Middle).colored(FAINT_INK));
        return;
    };
    let Some(top) = plot.y(percent) else { return };
    let counts = format!("{} of {}", counts.errors(), counts.total());
    let width = |text: &str, size: f64| fonts.width(text, size, Weight::Regular);
    let mut baseline = top - 8.0;
    if width(&counts, sizes.note) + 8.0 <= plot.slot() {
        clear(scene, (x, baseline), width(&counts, sizes.note), sizes.note);
        scene.label(Label::new(counts, (x, baseline), sizes.note).anchored(Anchor::Middle).colored(FAINT_INK));
        baseline -= sizes.note * 1.35;
    }
    let text = percent_text(percent);
    if width(&text, sizes.tick) + 8.0 <= plot.slot() {
        clear(scene, (x, baseline), width(&text, sizes.tick), sizes.tick);
        scene.label(Label::new(text, (x, baseline), sizes.tick).anchored(Anchor::Middle));
    }
}

/// Paints a white background for a text of `width` with its baseline at `at`, to hide grid lines.
fn clear(scene: &mut Scene, at: Point, width: f64, size: f64) {
    let half = width / 2.0 + 3.0;
    scene.fill(Rect { left: at.0 - half, top: at.1 - size * 0.85, right: at.0 + half, bottom: at.1 + 2.0 }, WHITE);
}

/// Formats a percentage with few digits; a non-zero percentage is never shown as zero.
fn percent_text(percent: f64) -> String {
    match percent {
        0.0 => "0 %".to_owned(),
        _ if percent < 0.01 => "< 0.01 %".to_owned(),
        _ if percent < 1.0 => format!("{percent:.2} %"),
        _ => format!("{percent:.1} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_errors_are_not_shown_as_zero() {
        assert_eq!(
            [0.0, 0.004, 0.25, 1.25, 100.0].map(percent_text),
            ["0 %", "< 0.01 %", "0.25 %", "1.2 %", "100.0 %"]
        );
    }
}
