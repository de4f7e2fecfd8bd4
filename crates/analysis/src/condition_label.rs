//! How a condition is named and ordered for people. Conditions that are not listed here work too, under their own name.

/// What people read instead of a condition's name.
struct ConditionLabel {
    condition: &'static str,
    title: &'static str,
    unit: &'static str,
}

const LABELS: [ConditionLabel; 9] = [
    ConditionLabel { condition: "loss", title: "Packet loss", unit: "%" },
    ConditionLabel { condition: "delay", title: "Delay", unit: "ms" },
    ConditionLabel { condition: "rate", title: "Link rate", unit: "kbit/s" },
    ConditionLabel { condition: "combined", title: "Combined conditions", unit: "" },
    ConditionLabel { condition: "jitter", title: "Jitter", unit: "ms" },
    ConditionLabel { condition: "duplicate", title: "Duplicated packets", unit: "%" },
    ConditionLabel { condition: "corrupt", title: "Corrupted packets", unit: "%" },
    ConditionLabel { condition: "reorder", title: "Reordered packets", unit: "%" },
    ConditionLabel { condition: BASELINE, title: "Baseline", unit: "" },
];

/// The name under which the baseline is listed and drawn.
pub(crate) const BASELINE: &str = "baseline";

fn wording(condition: &str) -> Option<&'static ConditionLabel> {
    LABELS.iter().find(|wording| wording.condition == condition)
}

/// The condition in words (`Packet loss`); an unknown one keeps its name.
pub(crate) fn title(condition: &str) -> &str {
    wording(condition).map_or(condition, |wording| wording.title)
}

/// The unit of the condition's magnitude, if it is known and has one.
pub(crate) fn unit(condition: &str) -> Option<&'static str> {
    wording(condition).map(|wording| wording.unit).filter(|unit| !unit.is_empty())
}

/// What an axis of the condition's values is called (`Packet loss (%)`).
pub(crate) fn axis_name(condition: &str) -> String {
    match unit(condition) {
        Some(unit) => format!("{} ({unit})", title(condition)),
        None => title(condition).to_owned(),
    }
}

/// Sorts values from mild to severe: a narrow rate is the severe one, else the larger value is.
pub(crate) fn severity(condition: &str, magnitude: f64) -> f64 {
    if condition == "rate" { -magnitude } else { magnitude }
}

/// Where a condition stands among the others: those with a wording first, in its order.
pub(crate) fn rank(condition: &str) -> usize {
    LABELS.iter().position(|wording| wording.condition == condition).unwrap_or(LABELS.len())
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
    fn a_narrow_rate_is_severe() {
        assert!(severity("rate", 1000.0) < severity("rate", 100.0));
        assert!(severity("delay", 50.0) < severity("delay", 100.0));
    }
}
