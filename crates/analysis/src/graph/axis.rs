//! The scale of a numeric axis: linear from zero, or logarithmic for a wide range of values.

/// Maximum ratio of the largest to the smallest value on a linear scale.
const MAX_LINEAR_RATIO: f64 = 50.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    Linear,
    Log,
}

/// A grid line at a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tick {
    pub(crate) at: f64,
    /// Empty for a line between labelled lines.
    pub(crate) label: String,
}

/// A numeric axis.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    pub(crate) scale: Scale,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) ticks: Vec<Tick>,
}

impl Axis {
    /// Creates an axis that covers `values`: logarithmic if they span more than a factor of 50.
    pub(crate) fn covering(values: impl IntoIterator<Item = f64>) -> Self {
        let (min, max) = values
            .into_iter()
            .filter(|value| value.is_finite())
            .fold((f64::INFINITY, 0.0_f64), |(min, max), value| (min.min(value), max.max(value)));
        if min > 0.0 && max / min > MAX_LINEAR_RATIO && max > 0.0 && min.is_finite() {
            Axis::log(min, max)
        } else {
            Axis::linear(max)
        }
    }

    /// Creates a linear axis from zero to slightly more than `max`.
    pub(crate) fn linear(max: f64) -> Self {
        let max = if max > 0.0 { max } else { 1.0 };
        let step = nice_step(max / 5.0);
        // Room for the marker of the largest value.
        let high = max * 1.08;
        let ticks = (0..=(high / step).floor() as u32).map(|index| f64::from(index) * step);
        let ticks = ticks.map(|at| Tick { at, label: number(at, step) }).collect();
        Axis { scale: Scale::Linear, low: 0.0, high, ticks }
    }

    /// Creates an axis with only the tick zero, for values that are all zero.
    pub(crate) fn zero() -> Self {
        Axis { ticks: vec![Tick { at: 0.0, label: "0".to_owned() }], ..Axis::linear(1.0) }
    }

    /// Creates a logarithmic axis from slightly less than `min`, which must be above zero, to slightly more than `max`.
    pub(crate) fn log(min: f64, max: f64) -> Self {
        let (low, high) = (min / 1.3, max * 1.3);
        let decades = (high / low).log10();
        let labelled = |digit: i32| digit == 1 || (decades < 3.3 && matches!(digit, 2 | 5));
        let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
        let ticks = powers.flat_map(|power| (1..10).map(move |digit| (digit, power)));
        let ticks = ticks
            .map(|(digit, power)| (digit, f64::from(digit) * 10_f64.powi(power)))
            .filter(|(_, at)| (low..=high).contains(at))
            .map(|(digit, at)| Tick { at, label: if labelled(digit) { number(at, at) } else { String::new() } })
            .collect();
        Axis { scale: Scale::Log, low, high, ticks }
    }

    /// Returns the position of `value` between the ends of the axis, 0 to 1; `None` outside the axis.
    pub(crate) fn fraction(&self, value: f64) -> Option<f64> {
        let fraction = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log if value > 0.0 => (value / self.low).ln() / (self.high / self.low).ln(),
            Scale::Log => return None,
        };
        (-1e-9..=1.0 + 1e-9).contains(&fraction).then_some(fraction)
    }

    /// Appends the scale to `name` if it is not linear.
    pub(crate) fn named(&self, name: &str) -> String {
        match self.scale {
            Scale::Linear => name.to_owned(),
            Scale::Log => format!("{name}, log scale"),
        }
    }
}

/// Returns the smallest of 1, 2, 2.5, 5 times a power of ten that is at least `rough`.
fn nice_step(rough: f64) -> f64 {
    let power = 10_f64.powf(rough.log10().floor());
    let digit = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|digit| digit * power >= rough * (1.0 - 1e-9));
    digit.unwrap_or(10.0) * power
}

/// Formats `value` with the decimals that `step` needs.
fn number(value: f64, step: f64) -> String {
    let decimals = (0..6).find(|&decimals| {
        let scaled = step * 10_f64.powi(decimals);
        (scaled - scaled.round()).abs() < 1e-6 * scaled
    });
    format!("{value:.*}", decimals.unwrap_or(6) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|tick| tick.label.as_str()).filter(|label| !label.is_empty()).collect()
    }

    #[test]
    fn linear_axes_start_at_zero_and_have_round_ticks() {
        assert_eq!(labels(&Axis::covering([3.0, 104.0])), ["0", "25", "50", "75", "100"]);
        assert_eq!(labels(&Axis::covering([0.3, 0.9])), ["0.0", "0.2", "0.4", "0.6", "0.8"]);
        assert_eq!(labels(&Axis::covering([0.0, 100.0])), ["0", "20", "40", "60", "80", "100"]);
    }

    #[test]
    fn wide_ranges_are_logarithmic() {
        let axis = Axis::covering([0.5, 3000.0]);
        assert_eq!(axis.scale, Scale::Log);
        assert_eq!(labels(&axis), ["1", "10", "100", "1000"]);
        assert_eq!(labels(&Axis::covering([4.0, 600.0])), ["5", "10", "20", "50", "100", "200", "500"]);
        assert_eq!(axis.named("RTT (ms)"), "RTT (ms), log scale");
        let half = axis.fraction((axis.low * axis.high).sqrt()).unwrap();
        assert!((half - 0.5).abs() < 1e-9);
    }

    #[test]
    fn zero_keeps_the_scale_linear() {
        assert_eq!(Axis::covering([0.0, 3000.0]).scale, Scale::Linear);
        assert_eq!(Axis::covering([]), Axis::covering([0.0]));
        assert_eq!(labels(&Axis::covering([])), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
    }
}
