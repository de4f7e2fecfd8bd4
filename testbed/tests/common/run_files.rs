//! Files of a run, and assertions about its RTTs and the choices of its virtual users.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// An RTT may be below its delay by this, milliseconds: the driver's own tolerance.
pub(crate) const RTT_TOLERANCE_MS: f64 = 0.3;

/// Files of a run.
pub(crate) struct RunFiles {
    pub(crate) id: String,
    pub(crate) results: PathBuf,
    pub(crate) graphs: PathBuf,
}

/// Rows of a CSV file, by column name.
pub(crate) type Rows = Vec<BTreeMap<String, String>>;

/// Operations and request sizes in their order, by cell and client.
pub(crate) type Choices = BTreeMap<(String, String), Vec<(String, String)>>;

/// Asserts that each virtual user made the same choices in both runs, up to the shorter one's end.
pub(crate) fn assert_same_choices(one: &Choices, other: &Choices) {
    let mut compared = 0;
    for (user, operations) in one {
        let both: Vec<_> = operations.iter().zip(&other[user]).collect();
        assert!(both.iter().all(|(a, b)| a == b), "{user:?} made other choices");
        compared += both.len();
    }
    assert!(compared > 20, "only {compared} operations to compare");
}

impl RunFiles {
    pub(crate) fn only_one_in(directory: &Path) -> Self {
        let mut entries: Vec<PathBuf> =
            fs::read_dir(directory.join("results")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(entries.len(), 1, "expected one results directory, got {entries:?}");
        let results = entries.remove(0);
        let id = results.file_name().unwrap().to_string_lossy().into_owned();
        let graphs = directory.join("graphs").join(&id);
        Self { id, results, graphs }
    }

    pub(crate) fn csv(&self, name: &str) -> Rows {
        let mut reader = csv::Reader::from_path(self.results.join(name)).unwrap();
        reader.deserialize().map(|row| row.unwrap()).collect()
    }

    pub(crate) fn manifest(&self) -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(self.results.join("manifest.json")).unwrap()).unwrap()
    }

    /// Returns the choices of each virtual user.
    pub(crate) fn choices(&self) -> Choices {
        let mut choices = Choices::new();
        for row in self.csv("samples.csv") {
            let user = (row["cell"].clone(), row["client"].clone());
            // The request contains an order number, whose digits depend on the orders of other users.
            let bytes = if row["operation"] == "submit_rating" { String::new() } else { row["request_bytes"].clone() };
            choices.entry(user).or_default().push((row["operation"].clone(), bytes));
        }
        choices
    }

    /// Returns the minimum RTT of an operation in a cell, milliseconds. A slow host affects it least.
    pub(crate) fn min_rtt_ms(&self, cell: &str, operation: &str) -> f64 {
        let is_of = |row: &&BTreeMap<String, String>| row["cell"] == cell && row["operation"] == operation;
        let rows = self.csv("samples.csv");
        let rtts = rows.iter().filter(is_of).filter_map(|row| row["rtt_ms"].parse().ok());
        rtts.reduce(f64::min).unwrap_or_else(|| panic!("no RTT of {operation} in {cell}"))
    }

    /// Asserts that the RTTs of a cell contain the delay once, not twice.
    pub(crate) fn assert_has_delay(&self, cell: &str, delay_ms: f64) {
        let min = self.min_rtt_ms(cell, "view_products");
        let expected = delay_ms - RTT_TOLERANCE_MS..1.8 * delay_ms;
        assert!(expected.contains(&min), "{cell}: minimum RTT {min} ms, expected {expected:?}");
    }
}
