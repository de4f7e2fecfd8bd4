//! The files of a run, and what its round trips show.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What a round trip may be shorter than its delay, milliseconds: the driver's own tolerance.
pub(crate) const EARLY_MS: f64 = 0.3;

/// What a run left.
pub(crate) struct RunFiles {
    pub(crate) id: String,
    pub(crate) results: PathBuf,
    pub(crate) graphs: PathBuf,
}

/// A CSV file: its rows by column name.
pub(crate) type Rows = Vec<BTreeMap<String, String>>;

/// By cell and client: what its shopper asked for, and in how many bytes, in its order.
pub(crate) type Decisions = BTreeMap<(String, String), Vec<(String, String)>>;

/// As far as both runs got, each shopper decided the same.
pub(crate) fn assert_same_decisions(decided: &Decisions, again: &Decisions) {
    let mut compared = 0;
    for (shopper, operations) in decided {
        let both: Vec<_> = operations.iter().zip(&again[shopper]).collect();
        assert!(both.iter().all(|(a, b)| a == b), "{shopper:?} decided otherwise");
        compared += both.len();
    }
    assert!(compared > 20, "only {compared} operations to compare");
}

impl RunFiles {
    pub(crate) fn only_one_in(folder: &Path) -> Self {
        let mut entries: Vec<PathBuf> =
            fs::read_dir(folder.join("results")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(entries.len(), 1, "expected one run folder, got {entries:?}");
        let results = entries.remove(0);
        let id = results.file_name().unwrap().to_string_lossy().into_owned();
        let graphs = folder.join("graphs").join(&id);
        Self { id, results, graphs }
    }

    pub(crate) fn csv(&self, name: &str) -> Rows {
        let mut reader = csv::Reader::from_path(self.results.join(name)).unwrap();
        reader.deserialize().map(|row| row.unwrap()).collect()
    }

    pub(crate) fn manifest(&self) -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(self.results.join("manifest.json")).unwrap()).unwrap()
    }

    /// What each shopper decided.
    pub(crate) fn decisions(&self) -> Decisions {
        let mut decided = Decisions::new();
        for row in self.csv("samples.csv") {
            let shopper = (row["cell"].clone(), row["client"].clone());
            // An order's number has as many digits as orders of others came before it.
            let bytes = if row["operation"] == "submit_rating" { String::new() } else { row["request_bytes"].clone() };
            decided.entry(shopper).or_default().push((row["operation"].clone(), bytes));
        }
        decided
    }

    /// The shortest round trip of an operation in a cell, milliseconds: that of the link, however slow the host is.
    pub(crate) fn fastest_ms(&self, cell: &str, operation: &str) -> f64 {
        let is_of = |row: &&BTreeMap<String, String>| row["cell"] == cell && row["operation"] == operation;
        let rows = self.csv("samples.csv");
        let round_trips = rows.iter().filter(is_of).filter_map(|row| row["rtt_ms"].parse().ok());
        round_trips.reduce(f64::min).unwrap_or_else(|| panic!("no round trip of {operation} in {cell}"))
    }

    /// The delay in milliseconds is in a cell's round trips: once, not twice.
    pub(crate) fn assert_has_delay(&self, cell: &str, delay_ms: f64) {
        let fastest = self.fastest_ms(cell, "view_products");
        let expected = delay_ms - EARLY_MS..1.8 * delay_ms;
        assert!(expected.contains(&fastest), "{cell}: {fastest} ms is the shortest round trip, expected {expected:?}");
    }
}
