//! The latency breakdown as stacked bars: one bar per value of a condition, with its components stacked.

use crate::breakdown::Component;
use crate::graph::axis::Axis;
use crate::graph::font::{Fonts, Weight};
use crate::graph::legend::{Entry, Key};
use crate::graph::palette::{
    BLACK, BLUE, Color, FAINT_INK, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, WHITE, YELLOW,
};
use crate::graph::plot_area::{Category, Plot, PlotArea, TypeSizes, XAxis};
use crate::graph::scene::{Anchor, Label, Rect, Scene, Stroke};
use crate::mean_breakdown::MeanBreakdown;

/// A chart of stacked components over categories.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StackedBars {
    /// Title above the bars.
    pub(crate) name: String,
    pub(crate) categories: Vec<Category>,
    pub(crate) x_name: String,
    /// One per category; `None` without samples.
    pub(crate) means: Vec<Option<MeanBreakdown>>,
    /// Text for a chart without bars.
    pub(crate) empty: &'static str,
    /// Text in place of a single missing bar.
    pub(crate) missing: &'static str,
}

/// Returns the colour and the label of a component.
fn appearance(component: Component) -> (Color, &'static str) {
    match component {
        Component::Queueing => (PURPLE, "queueing (client, server)"),
        Component::Handshake => (SKY, "TCP handshake"),
        Component::Tls => (YELLOW, "TLS handshake"),
        Component::RoundTrips => (BLUE, "round trips"),
        Component::Transmission => (GREEN, "transmission and link queue"),
        Component::Retransmission => (VERMILLION, "retransmission stalls"),
        Component::Server => (ORANGE, "server processing"),
        Component::Database => (BLACK, "server database"),
        Component::Other => (GREY, "other"),
    }
}

/// Returns the legend of all charts of a graph: every component, but TLS only if it was used.
pub(crate) fn entries(charts: &[StackedBars]) -> Vec<Entry> {
    let means = || charts.iter().flat_map(|chart| chart.means.iter().flatten());
    let has_tls = means().any(|mean| mean.components.get(Component::Tls) > 0.0);
    let shown = Component::ALL.into_iter().filter(|component| has_tls || *component != Component::Tls);
    shown.map(appearance).map(|(color, label)| Entry::new(Key::Swatch(color), label)).collect()
}

impl StackedBars {
    pub(crate) fn draw(&self, scene: &mut Scene, fonts: Fonts, outer: Rect, sizes: TypeSizes) {
        let highest = self.means.iter().flatten().map(|mean| mean.latency_ms).fold(0.0, f64::max);
        let frame = PlotArea {
            x: XAxis::Categories(self.categories.clone()),
            x_name: self.x_name.clone(),
            // Leaves space for the label above the highest bar.
            y: if highest > 0.0 { Axis::linear(highest * 1.12) } else { Axis::zero() },
            y_name: self.name.clone(),
        };
        let plot = frame.draw(scene, fonts, outer, sizes);
        if self.means.iter().all(Option::is_none) {
            plot.message(scene, self.empty, sizes.note);
        }
        for (index, mean) in self.means.iter().enumerate() {
            match mean {
                Some(mean) => {
                    draw_bar(scene, &plot, index, mean);
                    draw_total(scene, fonts, &plot, index, mean, sizes);
                }
                None if highest > 0.0 => self.draw_missing(scene, fonts, &plot, index, sizes),
                None => (),
            }
        }
    }

    /// Writes why a bar is missing next to others.
    fn draw_missing(&self, scene: &mut Scene, fonts: Fonts, plot: &Plot, index: usize, sizes: TypeSizes) {
        if fonts.width(self.missing, sizes.note, Weight::Regular) + 6.0 <= plot.slot() {
            let at = (plot.category(index), plot.area.bottom - 6.0);
            scene.label(Label::new(self.missing, at, sizes.note).anchored(Anchor::Middle).colored(FAINT_INK));
        }
    }
}

/// Minimum height, in pixels, of components that are separated by a white line.
const MIN_LINED_HEIGHT: f64 = 4.0;

fn draw_bar(scene: &mut Scene, plot: &Plot, index: usize, mean: &MeanBreakdown) {
    let (x, half) = (plot.category(index), (plot.slot() * 0.32).min(45.0));
    let (mut below, mut height_below) = (0.0, 0.0);
    for component in Component::ALL {
        let above = below + mean.components.get(component);
        if let (Some(bottom), Some(top)) = (plot.y(below), plot.y(above)) {
            let height = bottom - top;
            if height > 0.0 {
                scene.fill(Rect { left: x - half, top, right: x + half, bottom }, appearance(component).0);
                if height >= MIN_LINED_HEIGHT && height_below >= MIN_LINED_HEIGHT {
                    scene.path(vec![(x - half, bottom), (x + half, bottom)], Stroke::solid(WHITE, 1.0));
                }
                height_below = height;
            }
        }
        below = above;
    }
}

/// Writes the mean latency above the bar if there is space.
fn draw_total(scene: &mut Scene, fonts: Fonts, plot: &Plot, index: usize, mean: &MeanBreakdown, sizes: TypeSizes) {
    let text = milliseconds(mean.latency_ms);
    let width = fonts.width(&text, sizes.note, Weight::Regular);
    let (x, Some(top)) = (plot.category(index), plot.y(mean.latency_ms)) else { return };
    if width + 6.0 <= plot.slot() {
        let half = width / 2.0 + 2.0;
        let background =
            Rect { left: x - half, top: top - 5.0 - sizes.note * 0.85, right: x + half, bottom: top - 2.0 };
        // Hides grid lines behind the number.
        scene.fill(background, WHITE);
        scene.label(Label::new(text, (x, top - 5.0), sizes.note).anchored(Anchor::Middle));
    }
}

/// Formats a value with three significant digits.
fn milliseconds(value: f64) -> String {
    match value {
        _ if value < 9.995 => format!("{value:.2}"),
        _ if value < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
