//! Titles, units and order of swept parameters and their values.

use model::SweptParameter;

/// Name of the pooled baseline in tables and graphs.
pub(crate) const BASELINE: &str = "baseline";

/// Returns the parameter's title (`Packet loss`).
pub(crate) fn title(parameter: SweptParameter) -> &'static str {
    match parameter {
        SweptParameter::Loss => "Packet loss",
        SweptParameter::Delay => "Delay",
        SweptParameter::Rate => "Link rate",
        SweptParameter::Combined => "Combined conditions",
    }
}

/// Returns the unit of the parameter's magnitude, if it has one.
pub(crate) fn unit(parameter: SweptParameter) -> Option<&'static str> {
    match parameter {
        SweptParameter::Loss => Some("%"),
        SweptParameter::Delay => Some("ms"),
        SweptParameter::Rate => Some("kbit/s"),
        SweptParameter::Combined => None,
    }
}

/// Returns the name of an axis of the parameter's values (`Packet loss (%)`).
pub(crate) fn axis_name(parameter: SweptParameter) -> String {
    match unit(parameter) {
        Some(unit) => format!("{} ({unit})", title(parameter)),
        None => title(parameter).to_owned(),
    }
}

/// Returns the key that sorts values from mild to severe: a lower rate is more severe, otherwise a larger value is.
pub(crate) fn severity(parameter: SweptParameter, magnitude: f64) -> f64 {
    match parameter {
        SweptParameter::Rate => -magnitude,
        SweptParameter::Loss | SweptParameter::Delay | SweptParameter::Combined => magnitude,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_carry_units() {
        assert_eq!(axis_name(SweptParameter::Loss), "Packet loss (%)");
        assert_eq!(axis_name(SweptParameter::Rate), "Link rate (kbit/s)");
        assert_eq!(axis_name(SweptParameter::Combined), "Combined conditions");
    }

    #[test]
    fn a_low_rate_is_severe() {
        assert!(severity(SweptParameter::Rate, 1000.0) < severity(SweptParameter::Rate, 100.0));
        assert!(severity(SweptParameter::Delay, 50.0) < severity(SweptParameter::Delay, 100.0));
    }
}
