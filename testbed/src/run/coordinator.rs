//! What the labs of a run share: which cells are left, what came of the others, and the run's folder.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use model::sample::Sample;
use tokio_util::sync::CancellationToken;

use crate::run::RunRequest;
use crate::run::admission::AdmissionControl;
use crate::run::progress::Progress;
use crate::run::resume::orders_are_consistent;
use crate::scenario::plan;
use crate::scenario::stopping_rule::StoppingRule;
use crate::store::cell_row::CellRow;
use crate::store::manifest::Manifest;
use crate::store::order_check::OrderCheck;
use crate::store::run_directory::RunDirectory;
use model::Cell;

/// A run under way.
pub(crate) struct Coordinator<'r> {
    /// What was asked for.
    pub(crate) request: &'r RunRequest,
    /// Where results go.
    pub(crate) folder: RunDirectory,
    /// The whole plan.
    pub(crate) cells: &'r [Cell],
    /// The display.
    pub(crate) progress: Progress,
    /// How many cells may be under way.
    pub(crate) admission: AdmissionControl,
    /// Ctrl-C, or the failure of a lab.
    pub(crate) stop: CancellationToken,
    /// Places in the plan of the cells that nobody has begun.
    waiting: RefCell<VecDeque<usize>>,
    /// The rows so far, by their place in the plan.
    rows: RefCell<BTreeMap<usize, CellRow>>,
    manifest: RefCell<Manifest>,
    precision: RefCell<StoppingRule>,
}

impl<'r> Coordinator<'r> {
    /// A run of all cells of the plan but those whose rows are there already, with their samples.
    pub(crate) fn new(
        request: &'r RunRequest,
        folder: RunDirectory,
        cells: &'r [Cell],
        manifest: Manifest,
        (earlier, samples): (Vec<CellRow>, Vec<Sample>),
        stop: CancellationToken,
    ) -> Self {
        let placement = |row: &CellRow| cells.iter().position(|cell| cell.id == row.cell);
        let rows: BTreeMap<usize, CellRow> =
            earlier.into_iter().filter_map(|row| Some((placement(&row)?, row))).collect();
        let mut precision = StoppingRule::new(request.scenario.until, request.seed);
        for placement in rows.keys() {
            let of_cell: Vec<Sample> =
                samples.iter().filter(|sample| sample.cell == cells[*placement].id).cloned().collect();
            precision.learn(&cells[*placement], &of_cell);
        }
        let waiting: VecDeque<usize> =
            plan::order(cells, request.seed).into_iter().filter(|placement| !rows.contains_key(placement)).collect();
        Self {
            progress: Progress::new(waiting.len(), request.scenario.whole_duration()),
            precision: RefCell::new(precision),
            request,
            folder,
            cells,
            admission: AdmissionControl::default(),
            stop,
            waiting: RefCell::new(waiting),
            rows: RefCell::new(rows),
            manifest: RefCell::new(manifest),
        }
    }

    /// How many cells nobody has begun.
    pub(crate) fn left(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// The next cell to be measured; those of conditions that are known well enough are passed over.
    pub(crate) fn take_cell(&self) -> Option<&'r Cell> {
        loop {
            let cell = &self.cells[self.waiting.borrow_mut().pop_front()?];
            if !self.precision.borrow().is_enough(cell) {
                return Some(cell);
            }
            self.progress.skip();
            let note = |manifest: &mut Manifest| manifest.skipped_cells.push(cell.id.clone());
            note(&mut self.manifest.borrow_mut());
        }
    }

    /// What one more repetition shows of a condition.
    pub(crate) fn learn(&self, cell: &Cell, samples: &[Sample]) {
        self.precision.borrow_mut().learn(cell, samples);
    }

    /// Keeps a cell's row.
    pub(crate) fn keep(&self, cell: &Cell, row: CellRow) -> anyhow::Result<()> {
        if let Some(placement) = self.cells.iter().position(|planned| planned.id == cell.id) {
            self.rows.borrow_mut().insert(placement, row);
        }
        self.folder.write_cells(&self.rows())
    }

    /// All rows, in the plan's order.
    pub(crate) fn rows(&self) -> Vec<CellRow> {
        self.rows.borrow().values().cloned().collect()
    }

    /// Whether nothing casts doubt on any row.
    pub(crate) fn is_all_well(&self) -> bool {
        self.rows.borrow().values().all(|row| row.info(None, &self.request.scenario).is_reliable())
    }

    /// Changes the manifest.
    pub(crate) fn note(&self, change: impl FnOnce(&mut Manifest)) {
        change(&mut self.manifest.borrow_mut());
    }

    /// Changes the manifest and writes it.
    pub(crate) fn write(&self, change: impl FnOnce(&mut Manifest)) -> anyhow::Result<()> {
        self.note(change);
        self.folder.write_manifest(&*self.manifest.borrow())
    }

    /// Whether the books of all labs were checked and agree.
    pub(crate) fn orders_are_consistent(&self) -> bool {
        let manifest = self.manifest.borrow();
        let earlier = manifest.previous_attempts.iter().all(orders_are_consistent);
        earlier && !manifest.order_check_skipped && manifest.order_check.is_some_and(OrderCheck::has_passed)
    }

    /// Tells what came of the books.
    pub(crate) fn report_order_check(&self) {
        let Some(order_check) = self.manifest.borrow().order_check else { return };
        let verdict = if order_check.has_passed() { "consistent" } else { "INCONSISTENT" };
        self.progress.line(&format!(
            "order check: {} acknowledged, {} stored; units: {} sold, {} ordered: {verdict}",
            order_check.acknowledged, order_check.stored, order_check.units_sold, order_check.units_ordered
        ));
    }
}
