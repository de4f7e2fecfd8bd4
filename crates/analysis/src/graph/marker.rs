//! Marker shapes, which distinguish series in addition to colours. All are polygons around a point.

use std::f64::consts::TAU;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marker {
    Circle,
    Square,
    TriangleUp,
    Diamond,
    TriangleDown,
    Cross,
    Pentagon,
    Plus,
}

impl Marker {
    pub(crate) const ALL: [Marker; 8] = [
        Marker::Circle,
        Marker::Square,
        Marker::TriangleUp,
        Marker::Diamond,
        Marker::TriangleDown,
        Marker::Cross,
        Marker::Pentagon,
        Marker::Plus,
    ];

    /// Returns the marker of the series at `index`.
    pub(crate) fn series(index: usize) -> Marker {
        Marker::ALL[index % Marker::ALL.len()]
    }

    /// Returns the corners around `center`; `radius` in pixels is the circle's, other shapes have about the same area.
    pub(crate) fn corners(self, center: (f64, f64), radius: f64) -> Vec<(f64, f64)> {
        let polygon = |corners: usize, size: f64, start: f64| regular(center, radius * size, corners, start);
        match self {
            Marker::Circle => polygon(32, 1.0, 0.0),
            Marker::Square => polygon(4, 1.25, 0.125),
            Marker::TriangleUp => polygon(3, 1.35, -0.25),
            Marker::Diamond => polygon(4, 1.35, 0.0),
            Marker::TriangleDown => polygon(3, 1.35, 0.25),
            Marker::Pentagon => polygon(5, 1.15, -0.25),
            Marker::Plus => plus(center, radius * 1.3, 0.0),
            Marker::Cross => plus(center, radius * 1.3, 0.125),
        }
    }
}

/// Returns a regular polygon with its first corner at `start` revolutions from the x axis.
fn regular(center: (f64, f64), radius: f64, corners: usize, start: f64) -> Vec<(f64, f64)> {
    (0..corners).map(|corner| around(center, radius, start + corner as f64 / corners as f64)).collect()
}

/// Returns a plus sign with arms a third as wide as the sign, rotated by `revolutions`.
fn plus(center: (f64, f64), radius: f64, revolutions: f64) -> Vec<(f64, f64)> {
    const HALF_ARM: f64 = 0.36;
    let tip = HALF_ARM.atan() / TAU;
    let tip_radius = radius * HALF_ARM.hypot(1.0);
    let notch_radius = radius * HALF_ARM.hypot(HALF_ARM);
    (0..4)
        .flat_map(|arm| {
            let middle = revolutions + f64::from(arm) / 4.0;
            [(tip_radius, middle - tip), (tip_radius, middle + tip), (notch_radius, middle + 0.125)]
        })
        .map(|(radius, at)| around(center, radius, at))
        .collect()
}

fn around(center: (f64, f64), radius: f64, revolutions: f64) -> (f64, f64) {
    (center.0 + radius * (revolutions * TAU).cos(), center.1 + radius * (revolutions * TAU).sin())
}
