//! Titles, units and order of conditions. A condition that is not listed here keeps its own name.

struct ConditionLabel {
    condition: &'static str,
    title: &'static str,
    unit: &'static str,
}

const LABELS: [ConditionLabel; 5] = [
    ConditionLabel { condition: "loss", title: "Packet loss", unit: "%" },
    ConditionLabel { condition: "delay", title: "Delay", unit: "ms" },
    ConditionLabel { condition: "rate", title: "Link rate", unit: "kbit/s" },
    ConditionLabel { condition: "combined", title: "Combined conditions", unit: "" },
    ConditionLabel { condition: BASELINE, title: "Baseline", unit: "" },
];

/// Name of the baseline in tables and graphs.
pub(crate) const BASELINE: &str = "baseline";

fn label_of(condition: &str) -> Option<&'static ConditionLabel> {
    LABELS.iter().find(|label| label.condition == condition)
}

/// Returns the condition's title (`Packet loss`), or its name if it is not listed.
pub(crate) fn title(condition: &str) -> &str {
    label_of(condition).map_or(condition, |label| label.title)
}

/// Returns the unit of the condition's magnitude, if it has one.
pub(crate) fn unit(condition: &str) -> Option<&'static str> {
    label_of(condition).map(|label| label.unit).filter(|unit| !unit.is_empty())
}

/// Returns the name of an axis of the condition's values (`Packet loss (%)`).
pub(crate) fn axis_name(condition: &str) -> String {
    match unit(condition) {
        Some(unit) => format!("{} ({unit})", title(condition)),
        None => title(condition).to_owned(),
    }
}

/// Returns the key that sorts values from mild to severe: a lower rate is more severe, otherwise a larger value is.
pub(crate) fn severity(condition: &str, magnitude: f64) -> f64 {
    if condition == "rate" { -magnitude } else { magnitude }
}

/// Returns the condition's position among the others: listed ones first, in the order of the list.
pub(crate) fn rank(condition: &str) -> usize {
    LABELS.iter().position(|label| label.condition == condition).unwrap_or(LABELS.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_carry_units() {
        assert_eq!(axis_name("loss"), "Packet loss (%)");
        assert_eq!(axis_name("rate"), "Link rate (kbit/s)");
        assert_eq!(axis_name("direction"), "direction");
    }

    #[test]
    fn a_low_rate_is_severe() {
        assert!(severity("rate", 1000.0) < severity("rate", 100.0));
        assert!(severity("delay", 50.0) < severity("delay", 100.0));
    }
}
